export { FrameForgeConsoleModule } from './console.module.js';
export type { FrameForgeConsoleOptions } from './console.options.js';
