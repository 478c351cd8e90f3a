import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Keeps files under URLs. This one has a folder; yours may have S3. */
export class Storage {
  constructor(private readonly folder: string) {}

  /** @returns the URL of what was stored */
  async put(
    name: string,
    content: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<string> {
    const path = join(this.folder, name);
    await pipeline(content, createWriteStream(path), { signal });
    return pathToFileURL(path).href;
  }

  /** @returns the path of a file with what is stored under the URL */
  get(url: string): string {
    return fileURLToPath(url);
  }
}
