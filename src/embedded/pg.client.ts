import pg from 'pg';

// oxlint-disable-next-line import/no-named-as-default-member -- pg before 8.15 has only the default
export const { Client, Pool } = pg;
