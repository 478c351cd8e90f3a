import { median } from '../harness/rounds.ts';
import type { Scenario, Subject } from '../harness/scenario.ts';
import { createMigratedDatabase } from '../subjects/frameforge.ts';
import { runProcess } from '../harness/processes.ts';

interface Boot {
  readonly readyMs: number;
  readonly applicationMs: number;
}

export const boot: Scenario = {
  row: 8,
  title: 'boot with nothing pending, from the start of the process to a ready application',
  unit: 'ms',
  requirements: [{ subject: 'this package', against: 'bare TypeOrmModule', atMost: 1.1 }],
  async open(bench) {
    const { url } = await createMigratedDatabase(bench);
    const applications: Record<string, number[]> = {};
    const subject = (name: string, file: string, how: string): Subject => {
      const own: number[] = (applications[name] = []);
      return {
        name,
        how,
        measure: async () => {
          const boots: Boot[] = [];
          for (let i = 0; i < bench.profile.boots; i += 1) {
            boots.push(await runProcess<Boot>(file, { DATABASE_URL: url }));
          }
          own.push(median(boots.map(({ applicationMs }) => applicationMs)));
          return median(boots.map(({ readyMs }) => readyMs));
        },
      };
    };
    return {
      subjects: [
        subject('this package', 'boot-frameforge.mjs', '`FrameForgeDatabaseModule.forRoot()`'),
        subject(
          'bare TypeOrmModule',
          'boot-type-orm.mjs',
          '`TypeOrmModule.forRoot` and `.forFeature` with the same entities',
        ),
      ],
      conclude: () => {
        const shown = Object.entries(applications).map(
          ([name, times]) => `${name} ${median(times).toFixed(1)} ms`,
        );
        return { notes: [`Without Node's own start and the imports: ${shown.join(', ')}.`] };
      },
    };
  },
};
