/**
 * Whether plans are kept by name where no option says so: `DB_PREPARED_STATEMENTS` tells, because it
 * depends on what is between application and server, which differs from deployment to deployment.
 *
 * @param problems - gets what is wrong with the variable
 */
export function preparedByDefault(
  env: NodeJS.ProcessEnv = process.env,
  problems: string[] = [],
): boolean {
  const wanted = env['DB_PREPARED_STATEMENTS'] ?? '';
  if (!['', 'true', 'false'].includes(wanted)) {
    problems.push(`DB_PREPARED_STATEMENTS is '${wanted}': set it to true or false`);
  }
  return wanted !== 'false';
}
