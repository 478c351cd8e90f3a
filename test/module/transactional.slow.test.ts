import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createDatabase } from '../support/server.js';

it.each(['nestjs-cls', 'typeorm-transactional'])(
  'the services join a transaction that @Transactional() of %s opens',
  async (library) => {
    const database = await createDatabase();
    try {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        [
          '--import',
          './test/support/typescript.mjs',
          './test/module/transactional.process.ts',
          library,
        ],
        { env: { ...process.env, DATABASE_URL: database.url }, timeout: 50_000 },
      );
      expect(JSON.parse(stdout)).toEqual({
        undone: 'on purpose',
        userOfUndone: null,
        seenOutside: 0,
        pending: 1,
      });
    } finally {
      await database.drop();
    }
  },
);
