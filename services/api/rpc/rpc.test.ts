import { PassThrough } from "node:stream";
import * as grpc from "@grpc/grpc-js";
import {
  Dispatcher,
  Health,
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  type RaftBatch,
  RaftPeer,
} from "@starling/api";
import { type Logger, metrics, nullLogger, SwarmError } from "@starling/base";
import { afterEach, describe, expect, it } from "vitest";
import {
  addService,
  callerFromSubject,
  forEachRequest,
  forwardedCaller,
  Outgoing,
  RpcClient,
  requireRole,
} from "./index.ts";

const servers: grpc.Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});

function listen(server: grpc.Server): Promise<string> {
  servers.push(server);
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve(`127.0.0.1:${port}`);
    });
  });
}

/** All counters of RPCs, as Prometheus reads them. */
async function rpcSamples(): Promise<ReadonlyMap<string, number>> {
  const lines = (await metrics.render()).split("\n").filter((line) => line.startsWith("grpc_"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
}

describe("a service on the local socket", () => {
  it("answers, and carries SwarmErrors with their code", async () => {
    const server = new grpc.Server();
    addService(
      server,
      Health,
      {
        check: async (request) => {
          if (request.service !== "Raft") throw new SwarmError("NotFound", `unknown service ${request.service}`);
          return HealthCheckResponse.create({ status: HealthCheckResponse_ServingStatus.SERVING });
        },
      },
      { authorize: "local", organization: () => "c1" },
    );
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    const answer = await client.call(Health.methods.check, HealthCheckRequest.create({ service: "Raft" }));
    expect(answer.status).toBe(HealthCheckResponse_ServingStatus.SERVING);
    await expect(client.call(Health.methods.check, HealthCheckRequest.create({ service: "x" }))).rejects.toMatchObject({
      code: "NotFound",
      message: "unknown service x",
    });
    client.close();
  });

  it("counts calls and messages at both ends, by SwarmKit's names", async () => {
    const server = new grpc.Server();
    const handlers = {
      check: async () => {
        throw new SwarmError("NotFound", "unknown");
      },
    };
    addService(server, Health, handlers, { authorize: "local", organization: () => "c1" });
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    const before = await rpcSamples();
    await expect(client.call(Health.methods.check, HealthCheckRequest.create())).rejects.toThrow("unknown");
    client.close();
    const grown = new Map<string, number>();
    for (const [key, value] of await rpcSamples()) {
      if (value > (before.get(key) ?? 0)) grown.set(key, value - (before.get(key) ?? 0));
    }
    const of = `grpc_type="unary",grpc_service="docker.swarmkit.v1.Health",grpc_method="Check"`;
    expect(grown).toEqual(
      new Map([
        [`grpc_client_started_total{${of}}`, 1],
        [`grpc_client_msg_sent_total{${of}}`, 1],
        [`grpc_client_handled_total{${of},grpc_code="NotFound"}`, 1],
        [`grpc_server_started_total{${of}}`, 1],
        [`grpc_server_msg_received_total{${of}}`, 1],
        [`grpc_server_handled_total{${of},grpc_code="NotFound"}`, 1],
      ]),
    );
  });

  it("tells the log of a handler's mistakes, and only of those", async () => {
    const server = new grpc.Server();
    const logged: unknown[] = [];
    const log: Logger = { ...nullLogger, error: (message, fields) => void logged.push([message, fields?.["rpc"]]) };
    addService(
      server,
      Health,
      {
        check: async ({ service }) => {
          if (service === "") throw new SwarmError("Internal", "a known failure");
          throw new TypeError("x is undefined");
        },
      },
      { authorize: "local", organization: () => "c1", log },
    );
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    for (const service of ["", "mistake"]) {
      const call = client.call(Health.methods.check, HealthCheckRequest.create({ service }));
      await expect(call).rejects.toMatchObject({ code: "Internal" });
    }
    expect(logged).toEqual([["handler failed", "/docker.swarmkit.v1.Health/Check"]]);
    client.close();
  });

  it("ends a handler's stream when the client leaves it", async () => {
    const server = new grpc.Server();
    let finished: (value: string) => void = () => undefined;
    const ended = new Promise<string>((resolve) => {
      finished = resolve;
    });
    const unused = async () => {
      throw new SwarmError("Unimplemented", "not in this test");
    };
    addService(
      server,
      Dispatcher,
      {
        heartbeat: unused,
        updateTaskStatus: unused,
        updateVolumeStatus: unused,
        async *tasks() {},
        async *assignments() {},
        async *session(_request, context) {
          context.signal.addEventListener("abort", () => finished("aborted"));
          for (let i = 0; ; i++) {
            yield Dispatcher.methods.session.response.create({ sessionId: String(i) });
            if (context.signal.aborted) return;
          }
        },
      },
      { authorize: "local", organization: () => "c1" },
    );
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    const got: string[] = [];
    for await (const message of client.stream(
      Dispatcher.methods.session,
      Dispatcher.methods.session.request.create(),
    )) {
      got.push(message.sessionId);
      if (got.length === 3) break;
    }
    expect(got).toEqual(["0", "1", "2"]);
    expect(await ended).toBe("aborted");
    client.close();
  });

  it("sends the status of a handler that leaves a request stream that is still open", async () => {
    const server = new grpc.Server();
    addService(
      server,
      RaftPeer,
      {
        async *messages(requests) {
          for await (const batch of requests) {
            if (batch.to !== 1n) throw new SwarmError("NotFound", `no ${batch.to}`);
            yield { batches: 1 };
          }
        },
      },
      { authorize: "local", organization: () => "c1" },
    );
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    const never = new Promise<never>(() => undefined);
    async function* requests() {
      yield RaftPeer.methods.messages.request.create({ to: 2n });
      await never;
    }
    const read = async () => {
      for await (const ack of client.duplex(RaftPeer.methods.messages, requests())) return ack;
    };
    await expect(read()).rejects.toMatchObject({ code: "NotFound", message: "no 2" });
    client.close();
  });

  describe("a handler that is called with each request", () => {
    /** Hears batches; their ids go back. Batch 3 is answered when `release` is called, batch 9 fails. */
    async function setUp() {
      const server = new grpc.Server();
      const heard: bigint[] = [];
      const third = Promise.withResolvers<void>();
      const outcome = Promise.withResolvers<string>();
      addService(
        server,
        RaftPeer,
        {
          messages(requests, { signal }) {
            let answered = 0;
            const stream = new Outgoing(() => {
              return answered < heard.length ? { batches: Number(heard[answered++]) } : undefined;
            }, signal);
            forEachRequest(requests, ({ to }) => {
              if (to === 9n) throw new SwarmError("NotFound", "no 9");
              heard.push(to);
              stream.wake();
              return to === 3n ? third.promise : undefined;
            }).then(
              () => {
                outcome.resolve("ended");
                stream.end();
              },
              (error: SwarmError) => {
                outcome.resolve(error.code);
                stream.end(error);
              },
            );
            return stream;
          },
        },
        { authorize: "local", organization: () => "c1" },
      );
      const check = async () => HealthCheckResponse.create();
      addService(server, Health, { check }, { authorize: "local", organization: () => "c1" });
      const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
      const requests = new PassThrough({ objectMode: true });
      const answers = client
        .duplex(RaftPeer.methods.messages, requests as AsyncIterable<RaftBatch>)
        [Symbol.asyncIterator]();
      const say = (...ids: number[]) => {
        for (const id of ids) requests.write(RaftPeer.methods.messages.request.create({ to: BigInt(id) }));
      };
      const next = async () => (await answers.next()).value?.batches;
      return { client, requests, answers, say, next, heard, release: third.resolve, outcome: outcome.promise };
    }

    it("hears them in order, and no further one while it is busy with one", async () => {
      const { client, requests, say, next, heard, release, outcome } = await setUp();
      say(1, 2, 3, 4, 5);
      expect([await next(), await next(), await next()]).toEqual([1, 2, 3]);
      // The server has answered calls that came after those.
      for (let i = 0; i < 2; i++) await client.call(Health.methods.check, HealthCheckRequest.create());
      expect(heard).toEqual([1n, 2n, 3n]);
      release();
      expect([await next(), await next()]).toEqual([4, 5]);
      requests.end();
      expect(await next()).toBeUndefined();
      expect(await outcome).toBe("ended");
      client.close();
    });

    it("fails the call with what it throws", async () => {
      const { client, say, next, outcome } = await setUp();
      say(1, 9, 2);
      expect(await next()).toBe(1);
      await expect(next()).rejects.toMatchObject({ code: "NotFound", message: "no 9" });
      expect(await outcome).toBe("NotFound");
      client.close();
    });

    it("hears its end when the caller breaks off", async () => {
      const { client, say, next, answers, outcome } = await setUp();
      say(1);
      expect(await next()).toBe(1);
      await answers.return?.();
      expect(await outcome).toBe("ended");
      client.close();
    });

    it("is not called with what is no message: the caller is told so", async () => {
      const { client, heard } = await setUp();
      const path = RaftPeer.methods.messages.path;
      const raw = new grpc.Client(client.address, grpc.credentials.createInsecure());
      const bytes = (value: Buffer) => value;
      const call = raw.makeBidiStreamRequest(path, bytes, bytes);
      const failure = new Promise<grpc.ServiceError>((resolve) => call.on("error", resolve));
      call.resume().write(Buffer.from([0x08]));
      expect(await failure).toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
      expect(heard).toEqual([]);
      raw.close();
      client.close();
    });
  });

  it("refuses a call that the table keeps for managers, when no certificate is shown", async () => {
    const server = new grpc.Server();
    addService(
      server,
      Health,
      { check: async () => HealthCheckResponse.create() },
      { authorize: "roles", organization: () => "c1" },
    );
    const client = new RpcClient(await listen(server), grpc.credentials.createInsecure());
    await expect(client.call(Health.methods.check, HealthCheckRequest.create())).rejects.toMatchObject({
      code: "PermissionDenied",
    });
    client.close();
  });
});

describe("identity", () => {
  const manager = callerFromSubject({ CN: "m1", OU: ["swarm-manager", "swarm-ca"], O: "c1" });
  const worker = callerFromSubject({ CN: "w1", OU: "swarm-worker", O: "c1" });

  it("holds roles and organization against the table", () => {
    expect(() => requireRole(manager, ["swarm-manager"], "c1")).not.toThrow();
    expect(() => requireRole(worker, ["swarm-manager"], "c1")).toThrow(/swarm-worker may not/);
    expect(() => requireRole(manager, ["swarm-manager"], "c2")).toThrow(/another cluster/);
  });

  it("lets only managers speak for others", () => {
    const metadata = new grpc.Metadata();
    metadata.set("forwarded_cert", "true");
    metadata.set("forwarded_cert_cn", "w9");
    metadata.add("forwarded_cert_ou", "swarm-worker");
    metadata.set("forwarded_cert_org", "c1");
    expect(forwardedCaller(manager, metadata, "c1")).toEqual({
      nodeId: "w9",
      roles: ["swarm-worker"],
      organization: "c1",
      forwarded: true,
    });
    expect(() => forwardedCaller(worker, metadata, "c1")).toThrow(/only a manager/);
  });
});
