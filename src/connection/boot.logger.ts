/** The part of Nest's logger that a boot needs. */
export interface BootLogger {
  log(message: string): void;
  warn(message: string): void;
}
