/**
 * Runs in a host: `node stranger.ts STATE-DIR ADDRESS` calls the manager at ADDRESS with the identity in STATE-DIR, which
 * is of another cluster, and prints what it is told as JSON: `{ CALL: "CODE: message" }`, "answered" where it got in.
 */
import { createSecureContext } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import {
  Control,
  Dispatcher,
  JoinRequest,
  ListNodesRequest,
  ListServicesRequest,
  ProcessRaftMessageRequest,
  Raft,
  RaftMembership,
  SessionRequest,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { SwarmError, systemClock } from "@starling/base";
import { clientCredentials, NodeIdentity } from "@starling/ca";

const [stateDir = "", address = ""] = process.argv.slice(2);
const identity = await NodeIdentity.load(stateDir, systemClock);
if (!identity) throw new Error(`${stateDir} has no identity`);

/** As an honest node does: it trusts managers of its own root only. */
const honest = new RpcClient(address, clientCredentials(identity));
/** As an intruder does: it shows its certificate to whoever is there. */
const context = createSecureContext({ cert: identity.chainPem, key: identity.keyPem });
const intruder = new RpcClient(
  address,
  credentials.createFromSecureContext(context, { rejectUnauthorized: false, checkServerIdentity: () => undefined }),
);

async function said(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return "answered";
  } catch (thrown) {
    const { code, message } = SwarmError.from(thrown);
    return `${code}: ${message}`;
  }
}

const timeoutMs = 5_000;
const answers: Record<string, string> = {
  "trusting its own root": await said(() =>
    honest.call(Control.methods.listNodes, ListNodesRequest.create(), { timeoutMs }),
  ),
  listNodes: await said(() => intruder.call(Control.methods.listNodes, ListNodesRequest.create(), { timeoutMs })),
  listServices: await said(() =>
    intruder.call(Control.methods.listServices, ListServicesRequest.create(), { timeoutMs }),
  ),
  session: await said(async () => {
    for await (const _ of intruder.stream(Dispatcher.methods.session, SessionRequest.create(), { timeoutMs })) break;
  }),
  join: await said(() =>
    intruder.call(RaftMembership.methods.join, JoinRequest.create({ addr: "10.99.0.100:4242" }), { timeoutMs }),
  ),
  raft: await said(() =>
    intruder.call(Raft.methods.processRaftMessage, ProcessRaftMessageRequest.create(), { timeoutMs }),
  ),
};
process.stdout.write(JSON.stringify(answers));
honest.close();
intruder.close();
