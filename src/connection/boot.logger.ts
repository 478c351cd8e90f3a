/** The part of Nest's logger that a boot needs. */
export interface BootLogger {
  /** Logs an action, such as a migration that was run. */
  log(message: string): void;
  /** Logs a problem, such as a database that the boot waits for. */
  warn(message: string): void;
}
