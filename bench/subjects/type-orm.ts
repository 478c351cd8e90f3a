import { DataSource } from 'typeorm';
import { frameForgeEntities, VideoJob } from '../../build/schema/entities/index.js';
import { CONNECTIONS } from '../config.ts';
import type { Bench } from '../harness/scenario.ts';
import type { Video } from './fixtures.ts';
import { createMigratedDatabase } from './frameforge.ts';

export const HOW = '`repository.save` in a transaction, on the same entities and tables';

export interface TypeOrm {
  readonly users: string[];
  save(video: Video): Promise<VideoJob>;
  saveAll(videos: readonly Video[]): Promise<VideoJob[]>;
}

/** The code of a team that uses Nest and TypeORM without this package. */
export async function openTypeOrm(bench: Bench): Promise<TypeOrm> {
  const { url, users } = await createMigratedDatabase(bench);
  const dataSource = await new DataSource({
    type: 'postgres',
    url,
    entities: frameForgeEntities,
    installExtensions: false,
    poolSize: CONNECTIONS,
  }).initialize();
  bench.onEnd(() => dataSource.destroy());
  return {
    users,
    save: (video) =>
      dataSource.transaction((manager) => {
        const repository = manager.getRepository(VideoJob);
        return repository.save(repository.create(video));
      }),
    saveAll: (videos) =>
      dataSource.transaction((manager) => {
        const repository = manager.getRepository(VideoJob);
        return repository.save(repository.create([...videos]), { chunk: 1_000 });
      }),
  };
}
