export type { EmbeddedPostgresOptions } from './embedded.options.js';
export { startEmbeddedPostgres, type EmbeddedPostgres } from './embedded.server.js';
