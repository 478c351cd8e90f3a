import { Catch, HttpStatus, Logger, Optional } from '@nestjs/common';
import type { ArgumentsHost, ExceptionFilter } from '@nestjs/common';
import { throwError } from 'rxjs';
import { FrameForgeError, InvalidInputError } from '../errors.js';
import { reasonOf } from '../errors.text.js';
import type { FrameForgeErrorCode, InputProblem } from '../errors.js';

/** The HTTP status of each code of a `FrameForgeError`. */
export const FRAMEFORGE_HTTP_STATUS: Readonly<Record<FrameForgeErrorCode, HttpStatus>> = {
  INVALID_INPUT: HttpStatus.BAD_REQUEST,
  USER_NOT_FOUND: HttpStatus.NOT_FOUND,
  USER_CONFLICT: HttpStatus.CONFLICT,
  JOB_NOT_FOUND: HttpStatus.NOT_FOUND,
  NOTIFICATION_NOT_FOUND: HttpStatus.NOT_FOUND,
  INVALID_JOB_TRANSITION: HttpStatus.CONFLICT,
  INVALID_NOTIFICATION_TRANSITION: HttpStatus.CONFLICT,
  LEASE_LOST: HttpStatus.CONFLICT,
  STALE_ENTITY: HttpStatus.CONFLICT,
  JOB_CANCELLED: HttpStatus.CONFLICT,
  JOB_CONFLICT: HttpStatus.CONFLICT,
  TRANSACTION_CONFLICT: HttpStatus.SERVICE_UNAVAILABLE,
  DATABASE_UNAVAILABLE: HttpStatus.SERVICE_UNAVAILABLE,
  STATEMENT_TIMEOUT: HttpStatus.SERVICE_UNAVAILABLE,
  RUN_TIMEOUT: HttpStatus.GATEWAY_TIMEOUT,
  MIGRATION_FAILED: HttpStatus.INTERNAL_SERVER_ERROR,
  CONFIGURATION_INVALID: HttpStatus.INTERNAL_SERVER_ERROR,
};

/** The messages for clients that replace messages about hosts, roles and SQL. */
const PUBLIC_MESSAGE: Partial<Record<number, string>> = {
  [HttpStatus.SERVICE_UNAVAILABLE]: 'The service is temporarily unavailable. Try again later.',
  [HttpStatus.INTERNAL_SERVER_ERROR]: 'Internal server error',
};

/** The answer to a caller, for every transport. */
export interface FrameForgeErrorAnswer {
  /** The stable code of the error. */
  readonly code: FrameForgeErrorCode;
  /** What happened and what to do. A general sentence if the message of the error names hosts, roles or SQL. */
  readonly message: string;
  /** What is wrong with an input, by property. */
  readonly problems?: readonly InputProblem[];
}

/** The options of {@link FrameForgeExceptionFilter}. */
export interface FrameForgeExceptionFilterOptions {
  /**
   * Makes the body of an HTTP answer, for instance in the form that the application uses for its other errors.
   * Default: the `answer` unchanged.
   *
   * @param answer - `statusCode`, `code`, `message` and, for invalid input, `problems`
   * @param error - the error. Its `cause`, and the message of a 503 or 500, may name hosts, roles or SQL
   * @param host - the request and its response
   */
  readonly body?: (
    answer: FrameForgeErrorAnswer & { readonly statusCode: HttpStatus },
    error: FrameForgeError,
    host: ArgumentsHost,
  ) => object;
}

/** What a response of Express, and a reply of Fastify with its `raw` response, have in common. */
interface HttpResponse {
  readonly raw?: HttpResponse;
  readonly headersSent?: boolean;
  status(code: number): { send(body: object): unknown };
  end(): unknown;
}

/**
 * Answers callers with this package's errors, in the form of each transport. The answer contains nothing about the
 * database. If only an operator can solve the problem, the message is general, and the log has the details.
 *
 * - HTTP: the status 400, 404, 409, 503 or 500, and a body with `statusCode`, `code`, `message` and, for
 *   invalid input, `problems`.
 * - Microservices: `{ status: 'error', code, message, problems? }`, where a client of Nest finds it.
 * - GraphQL: an error with `code`, and for invalid input `problems`, in its `extensions`.
 *
 * @example app.useGlobalFilters(new FrameForgeExceptionFilter())
 */
@Catch(FrameForgeError)
export class FrameForgeExceptionFilter implements ExceptionFilter<FrameForgeError> {
  private readonly log = new Logger(FrameForgeExceptionFilter.name);
  private readonly bodyOf: FrameForgeExceptionFilterOptions['body'];

  /** @param options - `body`: makes the body of an HTTP answer */
  constructor(@Optional() options?: FrameForgeExceptionFilterOptions) {
    this.bodyOf = options?.body;
  }

  /** @returns what Nest hands on to a transport other than HTTP */
  catch(error: FrameForgeError, host: ArgumentsHost): unknown {
    const transport = host.getType<string>();
    // Nest takes nothing returned for "not handled".
    if (!['http', 'rpc', 'graphql'].includes(transport)) return undefined;
    const statusCode = FRAMEFORGE_HTTP_STATUS[error.code];
    if (statusCode >= 500) this.log.error(error.message, error.stack);
    const answer: FrameForgeErrorAnswer = {
      code: error.code,
      message: PUBLIC_MESSAGE[statusCode] ?? error.message,
      ...(error instanceof InvalidInputError ? { problems: error.problems } : {}),
    };
    if (transport === 'rpc') return throwError(() => ({ status: 'error', ...answer }));
    if (transport === 'graphql') return graphqlError(answer);
    this.respond({ statusCode, ...answer }, error, host);
    return undefined;
  }

  private respond(
    answer: FrameForgeErrorAnswer & { readonly statusCode: HttpStatus },
    error: FrameForgeError,
    host: ArgumentsHost,
  ): void {
    const response = host.switchToHttp().getResponse<HttpResponse>();
    const raw = response.raw ?? response;
    if (raw.headersSent === true) {
      // A part of the answer was sent already. It can only be cut off.
      raw.end();
      return;
    }
    let body: object = answer;
    try {
      body = this.bodyOf?.(answer, error, host) ?? answer;
    } catch (thrown) {
      // If this were thrown, the client would get no answer, or the process would end.
      this.log.error(
        `The option \`body\` of FrameForgeExceptionFilter failed: ${reasonOf(thrown)}`,
      );
    }
    response.status(answer.statusCode).send(body);
  }
}

/** GraphQL takes an error that a resolver returns as one that it throws, and its `extensions`. */
function graphqlError({ message, ...extensions }: FrameForgeErrorAnswer): Error {
  const error = Object.assign(new Error(message), { extensions });
  // Some servers show it.
  error.stack = message;
  return error;
}
