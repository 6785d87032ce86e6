import type { MethodTable, ServiceTable } from "@starling/api";
import { SwarmError } from "@starling/base";

type Input<Req, Streams> = Streams extends true ? AsyncIterable<Req> : Req;
type Output<Res, Streams> = Streams extends true ? AsyncIterable<Res> : Promise<Res>;

/** What answers one method on a node. The signal aborts when the caller went away. */
export type NodeHandler<M> =
  M extends MethodTable<infer Req, infer Res, infer ReqStream, infer ResStream>
    ? (input: Input<Req, ReqStream>, signal: AbortSignal) => Output<Res, ResStream>
    : never;

export type NodeHandlers<S extends ServiceTable> = { readonly [K in keyof S["methods"]]: NodeHandler<S["methods"][K]> };

/** A method that managers may call on this node, its messages still encoded. */
export interface NodeMethod {
  readonly path: string;
  answer(requests: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** The methods of `table` as this node answers them. */
export function nodeMethods<S extends ServiceTable>(table: S, handlers: NodeHandlers<S>): readonly NodeMethod[] {
  return Object.entries(table.methods).map(([key, method]) => {
    const handler = handlers[key as keyof S["methods"]] as (input: unknown, signal: AbortSignal) => unknown;
    return {
      path: method.path,
      async *answer(requests, signal) {
        const decoded = decodeAll(requests, method);
        const output = handler(method.requestStream ? decoded : await only(decoded), signal);
        if (!method.responseStream) yield method.response.encode(await output);
        else for await (const response of output as AsyncIterable<unknown>) yield method.response.encode(response);
      },
    };
  });
}

async function* decodeAll(
  requests: AsyncIterable<Uint8Array>,
  { request }: MethodTable<unknown, unknown, boolean, boolean>,
): AsyncGenerator<unknown> {
  for await (const bytes of requests) {
    try {
      yield request.decode(bytes);
    } catch (cause) {
      throw new SwarmError("InvalidArgument", `not a valid ${request.typeName}: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
}

async function only(requests: AsyncGenerator<unknown>): Promise<unknown> {
  const { done, value } = await requests.next();
  if (done) throw new SwarmError("InvalidArgument", "the call has no request");
  return value;
}
