import { Boot } from '../connection/boot.js';
import { OwnServer } from '../support/own-server.js';

let server: OwnServer;
beforeAll(async () => {
  server = await OwnServer.start();
}, 60_000);
afterAll(() => server.remove());

it('a server that is starting up is waited for', async () => {
  await server.control('stop');
  await server.startSlowly();
  const boot = new Boot();
  await (await boot.open({ url: server.url })).destroy();
  // At first nothing may listen yet. The log says this too.
  expect(boot.told).toContainEqual(
    expect.stringMatching(
      /^Waiting for the database 127\.0\.0\.1:\d+\/postgres: the database system is (starting up|not yet accepting connections)\.$/,
    ),
  );
  expect(boot.told.at(-1)).toContain('Migrated: CreateUsersTable1700000001000');
});
