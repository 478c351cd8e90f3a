/**
 * Whether named prepared statements are used if no option says so. The variable `DB_PREPARED_STATEMENTS` decides,
 * because it depends on the pooler between the application and the server, which differs between deployments.
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
