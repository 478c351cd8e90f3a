import { Catch, HttpStatus, Logger } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { FrameForgeError, InvalidInputError } from '../errors.js';
import type { FrameForgeErrorCode } from '../errors.js';

/** The HTTP status of each code of a `FrameForgeError`. */
export const FRAMEFORGE_HTTP_STATUS: Readonly<Record<FrameForgeErrorCode, HttpStatus>> = {
  INVALID_INPUT: HttpStatus.BAD_REQUEST,
  USER_NOT_FOUND: HttpStatus.NOT_FOUND,
  USER_CONFLICT: HttpStatus.CONFLICT,
  JOB_NOT_FOUND: HttpStatus.NOT_FOUND,
  NOTIFICATION_NOT_FOUND: HttpStatus.NOT_FOUND,
  INVALID_JOB_TRANSITION: HttpStatus.CONFLICT,
  LEASE_LOST: HttpStatus.CONFLICT,
  JOB_CONFLICT: HttpStatus.CONFLICT,
  TRANSACTION_CONFLICT: HttpStatus.SERVICE_UNAVAILABLE,
  DATABASE_UNAVAILABLE: HttpStatus.SERVICE_UNAVAILABLE,
  STATEMENT_TIMEOUT: HttpStatus.SERVICE_UNAVAILABLE,
  MIGRATION_FAILED: HttpStatus.INTERNAL_SERVER_ERROR,
  CONFIGURATION_INVALID: HttpStatus.INTERNAL_SERVER_ERROR,
};

/** What a client is told where the error's own message is about the inside: hosts, roles, SQL. */
const PUBLIC_MESSAGE: Partial<Record<number, string>> = {
  [HttpStatus.SERVICE_UNAVAILABLE]: 'The service is temporarily unavailable. Try again later.',
  [HttpStatus.INTERNAL_SERVER_ERROR]: 'Internal server error',
};

/** What a response of Express, and a reply of Fastify with its `raw` response, have in common. */
interface HttpResponse {
  readonly raw?: HttpResponse;
  readonly headersSent?: boolean;
  status(code: number): { send(body: object): unknown };
  end(): unknown;
}

/**
 * Maps this package's errors to HTTP: 400, 404, 409, 503, and 500 for what only an operator can mend.
 * The body has `statusCode`, `code`, `message` and, for invalid input, `problems`. Nothing of the
 * database is in it: messages of 503 and 500 are general, and what happened is logged.
 *
 * Errors of other transports are left to what Nest does with them there.
 *
 * @example app.useGlobalFilters(new FrameForgeExceptionFilter())
 */
@Catch(FrameForgeError)
export class FrameForgeExceptionFilter implements ExceptionFilter<FrameForgeError> {
  private readonly log = new Logger(FrameForgeExceptionFilter.name);

  catch(error: FrameForgeError, host: ArgumentsHost): void {
    // Nest takes nothing returned for "not handled". A throw would end the process, from a message.
    if (host.getType() !== 'http') return;
    const statusCode = FRAMEFORGE_HTTP_STATUS[error.code];
    if (statusCode >= 500) this.log.error(error.message, error.stack);
    const response = host.switchToHttp().getResponse<HttpResponse>();
    const raw = response.raw ?? response;
    if (raw.headersSent === true) {
      // The answer had begun: it ends here, cut off.
      raw.end();
      return;
    }
    response.status(statusCode).send({
      statusCode,
      code: error.code,
      message: PUBLIC_MESSAGE[statusCode] ?? error.message,
      ...(error instanceof InvalidInputError ? { problems: error.problems } : {}),
    });
  }
}
