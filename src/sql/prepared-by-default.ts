/**
 * Whether plans are kept by name where no option says so: `DB_PREPARED_STATEMENTS` tells, because it
 * depends on what is between application and server, which differs from deployment to deployment.
 */
export const preparedByDefault = (): boolean => process.env['DB_PREPARED_STATEMENTS'] !== 'false';
