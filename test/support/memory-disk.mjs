import { existsSync, readFileSync, statfsSync } from 'node:fs';

const MEMORY_DISK = '/dev/shm';
const ENOUGH_BYTES = 4 * 1024 ** 3;

/**
 * Puts temporary files in memory, where there is room for all that the tests install and run: a new
 * database is some 300 files, an application's packages some thousands. TMPDIR decides where it is set.
 */
export function useMemoryDisk() {
  if (process.env.TMPDIR || !existsSync(MEMORY_DISK)) return;
  const { bavail, bsize } = statfsSync(MEMORY_DISK);
  const mount = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[1] === MEMORY_DISK);
  // Programs that are installed there must be allowed to run. Containers often forbid that.
  if (mount === undefined || mount.includes('noexec')) return;
  if (bavail * bsize >= ENOUGH_BYTES) process.env.TMPDIR = MEMORY_DISK;
}
