/** What generated code promises its users. */

/** Description of a field, for tests and tools. */
export interface FieldInfo {
  readonly name: string;
  readonly number: number;
  readonly type:
    | { readonly t: "scalar"; readonly scalar: string }
    | { readonly t: "enum"; readonly name: string }
    | { readonly t: "message"; readonly name: string };
  readonly repeated: boolean;
  readonly packed: boolean;
  readonly mapKey: string | undefined;
  readonly oneof: string | undefined;
  readonly alwaysSent: boolean;
}

/** The codec object of a message type. */
export interface MessageCodec<T> {
  readonly typeName: string;
  /** A whole message: `init` over the defaults. */
  create(init?: Partial<T>): T;
  encode(message: T): Uint8Array;
  /** Of what `encode` gives, which is not kept. */
  byteLength(message: T): number;
  /** Throws RangeError or TypeError, naming the message or field, when `bytes` is not such a message. */
  decode(bytes: Uint8Array): T;
  readonly fields: readonly FieldInfo[];
}

/** One RPC method: its path, shapes, streams and who may call it. */
export interface MethodTable<Req, Res, ReqStream extends boolean, ResStream extends boolean> {
  readonly path: string;
  readonly request: MessageCodec<Req>;
  readonly response: MessageCodec<Res>;
  readonly requestStream: ReqStream;
  readonly responseStream: ResStream;
  /** OUs of which the caller's certificate must hold one, or "any": no certificate needed. */
  readonly roles: readonly string[] | "any";
}

/** A service's table. */
export interface ServiceTable {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: method tables of any shape
  readonly methods: Readonly<Record<string, MethodTable<any, any, boolean, boolean>>>;
}

/** Everything generated, by full protobuf name. */
export interface Registry {
  readonly messages: Readonly<Record<string, MessageCodec<unknown> & { readonly watchSelectors?: readonly string[] }>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly services: Readonly<Record<string, ServiceTable>>;
}
