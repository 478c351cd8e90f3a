export { FrameForgeHealthIndicator } from './frameforge.health.js';
export type { HealthOptions, PoolUse } from './frameforge.health.js';
