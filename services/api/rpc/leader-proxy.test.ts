import { Metadata } from "@grpc/grpc-js";
import { Control, GetServiceRequest, GetServiceResponse, resolveImageMetadata } from "@starling/api";
import { expect, it } from "vitest";
import { forwardToLeader, type LeaderRoute } from "./leader-proxy.ts";
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
