// Extracts the frames of the given file, aborts that when it gets SIGUSR2, and prints the result.
import 'reflect-metadata';
import { tmpdir } from 'node:os';
import { pathToFileURL } from 'node:url';
import { FrameExtractor } from '../../examples/frames/frame.extractor.ts';
import { Storage } from '../../examples/frames/storage.ts';

const abort = new AbortController();
process.once('SIGUSR2', () => abort.abort());
const job = { jobId: 'job', runNumber: 1, videoUrl: pathToFileURL(process.argv[2]).href };
const extractor = new FrameExtractor(new Storage(tmpdir()));
await extractor.process(job, { signal: abort.signal, attempt: 1, progress: () => {} }).then(
  () => process.stdout.write('done'),
  (error) => process.stdout.write(error.name),
);
