import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Stores files and returns their URLs. This one uses a folder. Yours may use S3. */
export class Storage {
  constructor(private readonly folder: string) {}

  /** @returns the URL of the stored file */
  async put(
    name: string,
    content: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<string> {
    const path = join(this.folder, name);
    await pipeline(content, createWriteStream(path), { signal });
    return pathToFileURL(path).href;
  }

  /** @returns the path of the file that is stored under the URL */
  get(url: string): string {
    return fileURLToPath(url);
  }
}
