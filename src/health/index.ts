export { FrameForgeHealthIndicator } from './frameforge.health-indicator.js';
export type { DatabaseHealthOptions, PoolUse } from './frameforge.health-indicator.js';
