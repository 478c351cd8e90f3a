import 'reflect-metadata';
import { FrameForgeDatabaseModule } from '../../dist/index.js';
import { bootApplication } from './boot-application.mjs';

await bootApplication([FrameForgeDatabaseModule.forRoot()]);
