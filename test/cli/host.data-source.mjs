// The data source of a host application, in plain JavaScript, as a build makes it. It sets `migrationsRun` and
// `synchronize`. The command line must ignore both, because TypeORM would change the schema at once and without the
// lock.
import { DataSource } from 'typeorm';

class CreateHostTable1800000000000 {
  name = 'CreateHostTable1800000000000';
  async up(queryRunner) {
    await queryRunner.query('CREATE TABLE host (n int)');
  }
  async down(queryRunner) {
    await queryRunner.query('DROP TABLE host');
  }
}

export const dataSource = new DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL,
  migrations: [CreateHostTable1800000000000],
  migrationsRun: true,
  synchronize: true,
});
