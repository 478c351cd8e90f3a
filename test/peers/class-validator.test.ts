import { jest } from '@jest/globals';

const FILES = {
  ValidateBy: 'class-validator/cjs/decorator/common/ValidateBy.js',
  ValidateIf: 'class-validator/cjs/decorator/common/ValidateIf.js',
  isEmail: 'class-validator/cjs/decorator/string/IsEmail.js',
  Transform: 'class-transformer/cjs/decorators/transform.decorator.js',
};

it.each(Object.entries(FILES))(
  'a boot with a library that lacks %s names it, with the version',
  async (part, file) => {
    jest.resetModules();
    jest.unstable_mockModule(file, () => ({}));
    const { openDataSource } = await import('../../src/migrations/open-data-source.js');
    const { resolveOptions } = await import('../../src/database.options.js');
    await import('../../src/index.js');
    // Nothing listens on this port. The boot checks the libraries before it connects.
    const { dataSource, boot } = resolveOptions({ url: 'postgres://nobody@127.0.0.1:1/none' });
    const silent = { log: () => {}, warn: () => {} };
    const refusal = expect(openDataSource(dataSource, boot, silent)).rejects;
    await refusal.toMatchObject({
      code: 'CONFIGURATION_INVALID',
      message: expect.stringMatching(
        new RegExp(`${file.split('/')[0]} \\d+\\.\\d+\\.\\d+, which lacks ${part}\\.`),
      ) as unknown,
    });
    jest.unstable_unmockModule(file);
  },
);
