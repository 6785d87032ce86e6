import { Metadata } from "@grpc/grpc-js";
import {
  Control,
  Dispatcher,
  GetServiceRequest,
  GetServiceResponse,
  resolveImageMetadata,
  SessionMessage,
  SessionRequest,
} from "@starling/api";
import { SwarmError } from "@starling/base";
import { expect, it } from "vitest";
import { forwardToLeader, type LeaderRoute } from "./leader-proxy.ts";
import { Outgoing } from "./outgoing.ts";
import type { CallContext, CallOptions, Handlers } from "./types.ts";

it("a relayed call carries the caller and metadata of ours, and nothing else of its metadata", async () => {
  let sent: Metadata | undefined;
  const client = {
    async call(_method: unknown, _request: unknown, options: CallOptions) {
      sent = options.metadata;
      return GetServiceResponse.create();
    },
  };
  const route = {
    ownAddress: "10.0.0.2:4242",
    isLeader: () => false,
    leadingSignal: () => new AbortController().signal,
    resolve: async () => ({ client, signal: new AbortController().signal }),
  } as unknown as LeaderRoute;
  const metadata = new Metadata();
  metadata.set(resolveImageMetadata, "false");
  metadata.set("forwarded_cert_cn", "someone-else");
  metadata.set("x-other", "1");
  const caller = { nodeId: "m1", roles: ["swarm-manager"], organization: "c", forwarded: false };
  const context: CallContext = { caller, signal: new AbortController().signal, remoteAddress: "", metadata };
  const handlers = forwardToLeader(Control, {} as Handlers<typeof Control>, route);
  await handlers.getService(GetServiceRequest.create({ serviceId: "s" }), context);
  expect(sent?.getMap()).toEqual({
    [resolveImageMetadata]: "false",
    redirect: "10.0.0.2:4242",
    forwarded_cert: "true",
    forwarded_cert_cn: "m1",
    forwarded_cert_ou: "swarm-manager",
    forwarded_cert_org: "c",
  });
});

/** A stream that this manager serves while it leads: it says one thing, and then no more. */
function leading(kind: "generator" | "outgoing") {
  const lead = new AbortController();
  const route = { isLeader: () => true, leadingSignal: () => lead.signal } as unknown as LeaderRoute;
  let told = 0;
  const once = (): SessionMessage | undefined => (told++ === 0 ? SessionMessage.create({ sessionId: "s" }) : undefined);
  const local = {
    session: (_: unknown, { signal }: CallContext) =>
      kind === "outgoing"
        ? new Outgoing(once, signal)
        : (async function* () {
            yield once()!;
            await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
          })(),
  } as unknown as Handlers<typeof Dispatcher>;
  const caller = { nodeId: "n1", roles: ["swarm-worker"], organization: "c", forwarded: false };
  const context: CallContext = {
    caller,
    signal: new AbortController().signal,
    remoteAddress: "",
    metadata: new Metadata(),
  };
  const stream = forwardToLeader(Dispatcher, local, route).session(SessionRequest.create(), context);
  return { lead, reader: stream[Symbol.asyncIterator]() };
}

it.each(["generator", "outgoing"] as const)(
  "a stream that is served here ends with the leadership: %s",
  async (kind) => {
    const { lead, reader } = leading(kind);
    expect((await reader.next()).value?.sessionId).toBe("s");
    const next = reader.next();
    lead.abort(new SwarmError("Unavailable", "this manager no longer leads"));
    await expect(next).rejects.toMatchObject({ code: "Unavailable", message: "this manager no longer leads" });
  },
);

it("a stream whose reader has left follows the leadership no more", async () => {
  const { lead, reader } = leading("outgoing");
  const { signal } = lead;
  let removed = 0;
  const remove = signal.removeEventListener.bind(signal);
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    removed++;
    remove(...args);
  };
  await reader.next();
  expect(removed).toBe(0);
  await reader.return?.();
  expect(removed).toBe(1);
});
