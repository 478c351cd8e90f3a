import { Catch, HttpException, HttpStatus, Logger } from '@nestjs/common';
import type { ArgumentsHost } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';
import { FrameForgeError, InvalidInputError } from '../errors.js';
import type { FrameForgeErrorCode } from '../errors.js';

const STATUS: Record<FrameForgeErrorCode, HttpStatus> = {
  INVALID_INPUT: HttpStatus.BAD_REQUEST,
  USER_NOT_FOUND: HttpStatus.NOT_FOUND,
  JOB_NOT_FOUND: HttpStatus.NOT_FOUND,
  NOTIFICATION_NOT_FOUND: HttpStatus.NOT_FOUND,
  INVALID_JOB_TRANSITION: HttpStatus.CONFLICT,
  LEASE_LOST: HttpStatus.CONFLICT,
  JOB_CONFLICT: HttpStatus.CONFLICT,
  TRANSACTION_CONFLICT: HttpStatus.SERVICE_UNAVAILABLE,
  DATABASE_UNAVAILABLE: HttpStatus.SERVICE_UNAVAILABLE,
  MIGRATION_FAILED: HttpStatus.INTERNAL_SERVER_ERROR,
  CONFIGURATION_INVALID: HttpStatus.INTERNAL_SERVER_ERROR,
};

/** What a client is told where the error's own message is about the inside: hosts, roles, SQL. */
const PUBLIC_MESSAGE: Partial<Record<number, string>> = {
  [HttpStatus.SERVICE_UNAVAILABLE]: 'The service is temporarily unavailable. Try again later.',
  [HttpStatus.INTERNAL_SERVER_ERROR]: 'Internal server error',
};

/**
 * Maps this package's errors to HTTP: 400, 404, 409, 503, and 500 for what only an operator can mend.
 * The body has `statusCode`, `code`, `message` and, for invalid input, `problems`. Nothing of the
 * database is in it: messages of 503 and 500 are general, and what happened is logged.
 *
 * @example app.useGlobalFilters(new FrameForgeExceptionFilter(app.getHttpAdapter()))
 */
@Catch(FrameForgeError)
export class FrameForgeExceptionFilter extends BaseExceptionFilter<FrameForgeError> {
  private readonly log = new Logger(FrameForgeExceptionFilter.name);

  override catch(error: FrameForgeError, host: ArgumentsHost): void {
    // Other transports have error shapes of their own.
    if (host.getType() !== 'http') throw error;
    const statusCode = STATUS[error.code];
    if (statusCode >= 500) this.log.error(error.message, error.stack);
    const body = {
      statusCode,
      code: error.code,
      message: PUBLIC_MESSAGE[statusCode] ?? error.message,
      ...(error instanceof InvalidInputError ? { problems: error.problems } : {}),
    };
    super.catch(new HttpException(body, statusCode) as unknown as FrameForgeError, host);
  }
}
