/** The part of Nest's logger that a boot needs. */
export interface BootLogger {
  /** Tells what was done, such as a migration that was run. */
  log(message: string): void;
  /** Tells what somebody should look at, such as a database that is waited for. */
  warn(message: string): void;
}
