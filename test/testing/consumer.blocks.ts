import { blocksOf } from '../readme/readme.blocks.js';
import type { Block } from '../readme/readme.blocks.js';

const README = blocksOf('README.md');
/** The page of this package about testing. */
const BLOCKS = blocksOf('docs/testing.md');

/** The code around the blocks that are not complete files. */
const CONTEXT = `
import { JobService, LeaseLostError } from '@frameforge/shared-types';
import * as testing from '@frameforge/shared-types/testing';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { MigrationInterface, QueryRunner } from 'typeorm';

const { createTestDatabase, elapse, videoJobFixture, withRollback } = testing;

@Entity('tags')
class Tag {
  @PrimaryColumn({ type: 'integer' }) n!: number;
  @Column({ type: 'text' }) label!: string;
}

class AddTags1800000001000 implements MigrationInterface {
  async up(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('CREATE TABLE tags (n integer PRIMARY KEY, label text NOT NULL)');
  }
  async down(): Promise<void> {}
}

const opened = await createTestDatabase();
const dataSource = await opened.dataSource();
const jobs = new JobService(dataSource);
const result = { resultUrl: 's3://frames/1.zip', frameCount: 3 };
`;

/** The checks after each block, by the place of the block in the page. */
const CHECKS: Record<string, string> = {
  'Databases 1': `
    await dataSource.getRepository(Tag).insert({ n: 1, label: 'cats' });
    expect(await dataSource.getRepository(Tag).count()).toBe(1);`,
  'A transaction for each test 1': `
    expect(await jobs.countJobs()).toMatchObject({ pending: 0, processing: 0 });`,
  'Time 1': `
    expect(job).toMatchObject({ jobId: late.jobId, runNumber: 2 });`,
};

/** The files that the documents show, as they show them, and a test of the other blocks. */
export function filesOf(): Map<string, string> {
  const files = new Map<string, string>();
  const app = README.find(({ file }) => file === 'src/app.module.ts');
  files.set('src/app.module.ts', String(app?.text));
  let tests = CONTEXT;
  for (const block of BLOCKS.filter(({ kind }) => kind !== 'bash')) {
    const file = fileOf(block);
    if (file !== undefined) files.set(file, block.text);
    else {
      const { place, text } = block;
      const check = CHECKS[place];
      if (check === undefined) throw new Error(`The block "${place}" has no check.`);
      tests += `it('${place}', async () => {\n${text}\n${check}\n});\n`;
    }
  }
  return files.set('src/blocks.spec.ts', tests);
}

/** The name of the file that a block is. The file may also be outside of `src`. */
const fileOf = ({ text }: Block): string | undefined =>
  /^\/\/ ([\w./-]+)$/.exec(text.split('\n')[0] ?? '')?.[1];

/** The packages that the page says to install. */
export function packagesOf(): string[] {
  const install = BLOCKS.find(({ kind }) => kind === 'bash');
  return install?.text.replace(/^npm install --save-dev /, '').split(' ') ?? [];
}
