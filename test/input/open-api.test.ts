import { Body, Controller, Get, Module, Post, Query } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DocumentBuilder, PartialType, PickType, SwaggerModule } from '@nestjs/swagger';
import { getMetadataStorage } from 'class-validator';
import * as api from '../../src/index.js';

/** The exported classes whose properties this package checks. */
const INPUTS = Object.values(api as unknown as Record<string, Type>).filter(
  (exported) => typeof exported === 'function' && checked(exported).length > 0,
);

function checked(inputClass: Type): string[] {
  const metadata = getMetadataStorage().getTargetValidationMetadatas(inputClass, '', true, false);
  return [...new Set(metadata.map(({ propertyName }) => propertyName))].toSorted();
}

interface Schema {
  readonly properties: Record<string, object>;
  readonly required?: string[];
}

async function documentOf(...controllers: Type[]) {
  @Module({ controllers })
  class AppModule {}
  const app = await NestFactory.create(AppModule, { logger: false });
  try {
    return SwaggerModule.createDocument(app, new DocumentBuilder().build());
  } finally {
    await app.close();
  }
}

/** The part of the OpenAPI document that describes the classes of the requests. */
async function schemasOf(...classes: Type[]): Promise<Record<string, Schema>> {
  const controllers = classes.map((inputClass) => {
    @Controller(inputClass.name)
    class Taking {
      @Post()
      take(): void {}
    }
    Body()(Taking.prototype, 'take', 0);
    Reflect.defineMetadata('design:paramtypes', [inputClass], Taking.prototype, 'take');
    Object.defineProperty(Taking, 'name', { value: `Taking${inputClass.name}` });
    return Taking;
  });
  return (await documentOf(...controllers)).components?.schemas as unknown as Record<
    string,
    Schema
  >;
}

it('knows the inputs of this package', () => {
  const names = INPUTS.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(['CreateJobInput', 'JobResult', 'ListJobsInput']));
  expect(names.length).toBeGreaterThan(15);
});

it.each(INPUTS.map((input) => [input.name, input] as const))(
  '%s is documented, property by property',
  async (name, input) => {
    const schema = (await schemasOf(input))[name];
    // The options with the transaction never come from a request.
    const properties = checked(input).filter((property) => property !== 'manager');
    expect(Object.keys(schema?.properties ?? {}).toSorted()).toEqual(properties);
    for (const property of Object.values(schema?.properties ?? {})) {
      expect(property).toMatchObject({
        type: expect.stringMatching(/^(string|number|integer|object|boolean)$/),
      });
    }
  },
);

it('documents what a value must be, and which values may be left out', async () => {
  const schemas = await schemasOf(api.CreateJobInput, api.CreateUserInput, api.JobHandle);
  expect(schemas['CreateJobInput']).toMatchObject({
    required: ['userId', 'filename', 'videoUrl'],
    properties: {
      userId: { type: 'string', format: 'uuid' },
      filename: { type: 'string', minLength: 1, maxLength: 255 },
      videoUrl: { type: 'string', format: 'uri' },
      availableAt: { type: 'string', format: 'date-time' },
      parameters: { type: 'object', additionalProperties: true },
    },
  });
  expect(schemas['CreateUserInput']?.properties).toMatchObject({
    username: { type: 'string', pattern: '^[A-Za-z0-9_]{3,50}$' },
    email: { type: 'string', format: 'email' },
  });
  expect(schemas['JobHandle']?.properties).toMatchObject({
    runNumber: { type: 'integer', minimum: 0 },
    workerId: { type: 'string', nullable: true },
  });
});

it('documents a query, and classes that the mapped types of Nest make from an input', async () => {
  class Picked extends PickType(api.CreateJobInput, ['filename', 'videoUrl']) {}
  class Partly extends PartialType(api.CreateJobInput) {}
  @Controller('jobs')
  class JobsController {
    @Get()
    list(@Query() query: api.ListJobsInput): object {
      return query;
    }
  }
  const document = await documentOf(JobsController);
  const parameters = document.paths['/jobs']?.get?.parameters as {
    name: string;
    required: boolean;
  }[];
  expect(parameters.map(({ name }) => name).toSorted()).toEqual([
    'cursor',
    'limit',
    'status',
    'userId',
  ]);
  expect(parameters.every(({ required }) => !required)).toBe(true);
  const schemas = await schemasOf(Picked, Partly);
  expect(Object.keys(schemas['Picked']!.properties)).toEqual(['filename', 'videoUrl']);
  expect(schemas['Picked']!.required).toEqual(['filename', 'videoUrl']);
  expect(Object.keys(schemas['Partly']!.properties)).toContain('userId');
  expect(schemas['Partly']!.required ?? []).toEqual([]);
});
