import { DataSource } from 'typeorm';
import { resolveOptions } from '../database.options.js';

/**
 * The data source for TypeORM's command line, configured by the environment:
 * `npx typeorm migration:run -d node_modules/@frameforge/shared-types/dist/connection/data-source.js`
 */
export default new DataSource(resolveOptions().dataSource);
