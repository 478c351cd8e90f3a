// A process of a test run: makes a database, tells about it, and ends in the way that it was asked to.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTestDatabase } from '../../src/testing/index.js';
import { query } from '../support/query.js';

const [ending, schema] = process.argv.slice(2);
const database = await createTestDatabase({ schema });
const [row] = await query(database.url, `SELECT current_setting('data_directory') AS directory`);
const directory = String(row?.['directory']);
const postgres = Number.parseInt(readFileSync(join(directory, 'postmaster.pid'), 'utf8'), 10);
const { pid } = process;
process.stdout.write(`${JSON.stringify({ pid, url: database.url, directory, postgres })}\n`);

if (ending === 'drop') await database.drop();
if (ending === 'wait') setInterval(() => {}, 1000);
