import { type AddressInfo, createServer } from "node:net";
import { credentials, ServerCredentials } from "@grpc/grpc-js";
import { Health, HealthCheckRequest, HealthCheckResponse, Watch, WatchMessage, WatchRequest } from "@starling/api";
import { listenRemote, RpcClient, serve, shutDown } from "@starling/api/rpc";
import { FakeClock } from "@starling/base";
import { expect, it } from "vitest";

/** A server on loopback whose Health waits for `answer`, and whose Watch never ends. */
async function serving() {
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const services = [
    serve(Health, {
      check: async () => {
        asked.resolve();
        await answer.promise;
        return HealthCheckResponse.create();
      },
    }),
    serve(Watch, {
      async *watch() {
        yield WatchMessage.create();
        await new Promise(() => undefined);
      },
    }),
  ];
  const options = { authorize: "local", organization: () => "c" } as const;
  const address = await freeAddress();
  const server = await listenRemote(address, ServerCredentials.createInsecure(), services, options);
  const client = new RpcClient(address, credentials.createInsecure());
  return { server, client, asked: asked.promise, answer: answer.resolve };
}

async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

it("lets a call finish that is being answered", async () => {
  const { server, client, asked, answer } = await serving();
  const call = client.call(Health.methods.check, HealthCheckRequest.create());
  await asked;
  const down = shutDown(server, { clock: new FakeClock(), graceMs: 500 });
  answer();
  expect(await call).toEqual(HealthCheckResponse.create());
  await down;
  await expect(client.call(Health.methods.check, HealthCheckRequest.create())).rejects.toMatchObject({
    code: "Unavailable",
  });
  client.close();
});

it("cuts what goes on when the grace is over", async () => {
  const { server, client } = await serving();
  const clock = new FakeClock();
  const stream = client.stream(Watch.methods.watch, WatchRequest.create())[Symbol.asyncIterator]();
  await stream.next();
  const ended = expect(stream.next()).rejects.toMatchObject({ name: "SwarmError" });
  let isDown = false;
  const down = shutDown(server, { clock, graceMs: 500 }).then(() => {
    isDown = true;
  });
  await clock.advance(499);
  expect(isDown).toBe(false);
  await clock.advance(1);
  await down;
  await ended;
  client.close();
});
