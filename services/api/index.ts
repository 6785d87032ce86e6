export * from "./gen/messages.js";
export type { FieldInfo, MessageCodec, MethodTable, Registry, ServiceTable } from "./message.ts";
