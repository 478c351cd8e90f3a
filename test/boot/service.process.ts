// A service with an HTTP interface. A signal ends it while it works. It uses forRoot, or forFeature with a data source
// that it opens itself.
import 'reflect-metadata';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import {
  FrameForgeDatabaseModule,
  frameForgeEntities,
  frameForgeMigrations,
  migrate,
} from '../../src/index.js';

const url = process.env['DATABASE_URL'];

const DATABASE = {
  forRoot: () => [FrameForgeDatabaseModule.forRoot()],
  forFeature: () => [
    TypeOrmModule.forRootAsync({
      useFactory: () => ({
        type: 'postgres' as const,
        url,
        installExtensions: false,
        uuidExtension: 'pgcrypto' as const,
        entities: frameForgeEntities,
        migrations: frameForgeMigrations,
      }),
      dataSourceFactory: async (options) => {
        const dataSource = await new DataSource(options!).initialize();
        await migrate(dataSource);
        return dataSource;
      },
    }),
    FrameForgeDatabaseModule.forFeature(),
  ],
};

@Controller()
class WorkController {
  constructor(@InjectDataSource() private readonly dataSource: DataSource) {}

  /**
   * Begins something that nobody waits for, as a queue's consumer would, and a request that lasts. Both last so long
   * that the parent process sees them at work.
   */
  @Get('work')
  async work(): Promise<string> {
    void this.dataSource.transaction(async (manager) => {
      await manager.query('SELECT pg_sleep(3.5)');
      await manager.query(`INSERT INTO finished VALUES ('background')`);
    });
    await this.dataSource.query(`WITH slept AS (SELECT pg_sleep(3))
      INSERT INTO finished SELECT 'request' FROM slept`);
    return 'done';
  }
}

@Module({
  imports: DATABASE[process.argv[2] as keyof typeof DATABASE](),
  controllers: [WorkController],
})
class AppModule {}

for (const event of ['unhandledRejection', 'uncaughtException']) {
  process.on(event, (error) => process.send?.({ unexpected: String(error) }));
}
const app = await NestFactory.create(AppModule, { logger: false });
app.enableShutdownHooks();
await app.listen(0, '127.0.0.1');
process.send?.({ listening: await app.getUrl() });
