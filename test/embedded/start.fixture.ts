// A process that starts a server, reports it to the test, and ends in the way that the test asks for.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../../src/embedded/index.js';
import { query } from '../support/query.js';

const ending = process.argv[2];
const { url } = await startEmbeddedPostgres();
const [row] = await query(url, `SELECT current_setting('data_directory') AS directory`);
const lock = readFileSync(join(String(row?.['directory']), 'postmaster.pid'), 'utf8');
process.stdout.write(`${JSON.stringify({ url, pid: Number.parseInt(lock, 10) })}\n`);

if (ending === 'wait') setInterval(() => {}, 1000);
if (ending === 'throw') throw new Error('on purpose');
if (ending === 'exit') process.exit(7);
