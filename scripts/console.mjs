// Builds the pages of the console into dist/console/assets: one script and one style sheet.
import { build } from 'vite';

const root = new URL('../src/console/pages/', import.meta.url).pathname;

/** Makes `console.js` and `console.css`. */
export async function buildConsole() {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    build: {
      outDir: new URL('../dist/console/assets/', import.meta.url).pathname,
      emptyOutDir: true,
      target: 'es2023',
      cssTarget: 'chrome120',
      modulePreload: false,
      cssCodeSplit: false,
      license: false,
      rollupOptions: {
        input: `${root}main.tsx`,
        output: { entryFileNames: 'console.js', assetFileNames: 'console.[ext]' },
      },
    },
  });
}

if (process.argv[1] === new URL(import.meta.url).pathname) await buildConsole();
