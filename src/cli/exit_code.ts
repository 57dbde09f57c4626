/** What the process ends with. Documented in `selvage --help` and the README. */
export const ExitCode = {
  /** Stopped by SIGINT or SIGTERM, or did what was asked. */
  ok: 0,
  /** Could not start, or could not go on; the last line says why. */
  failed: 1,
  /** The command line or the environment is wrong. */
  usage: 2,
  /** Of `selvage check`: no fault was found, and not everything could be looked at. */
  unchecked: 3,
} as const;
