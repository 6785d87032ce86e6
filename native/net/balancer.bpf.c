// Virtual IPs at connect time: a TCP connection that a task makes to a service's virtual IP is made to one of the service's tasks
// instead, before there is any packet. Ports stay as they are. What no program here changes passes unchanged, for the tables
// of the task's network namespace. Maps are filled by swarmd (node-agent/src/network/balances.ts), which says what is in them.
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#define NETWORKS_MAX 10

// In network order; IPv4 as ::ffff:a.b.c.d.
struct address {
  __u32 word[4];
};
struct networks {
  __u32 vni[NETWORKS_MAX];  // 0: no more
};
struct service_key {
  __u32 vni;
  struct address virtual_ip;
};
struct service {
  __u32 tasks;
  __u32 sticky;
};
struct slot_key {
  struct service_key service;
  __u32 slot;
};
struct sticky_key {
  __u64 netns;
  struct service_key service;
  __u32 unused;
};
struct connection {
  struct address virtual_ip;
  struct address task;
};

// Whose maps these are: the node's id.
struct owner {
  char node_id[32];
};

#define MAP(map_name, map_type, key_type, value_type, entries, flag_bits) \
  struct {                                                                \
    __uint(type, map_type);                                               \
    __uint(max_entries, entries);                                         \
    __uint(map_flags, flag_bits);                                         \
    __type(key, key_type);                                                \
    __type(value, value_type);                                            \
  } map_name SEC(".maps")

MAP(owner, BPF_MAP_TYPE_ARRAY, __u32, struct owner, 1, 0);
// Filled by swarmd. Task's network namespace (its cookie) → networks that it is on.
MAP(networks_of, BPF_MAP_TYPE_HASH, __u64, struct networks, 1 << 14, BPF_F_NO_PREALLOC);
// A service without tasks is not in it.
MAP(services, BPF_MAP_TYPE_HASH, struct service_key, struct service, 1 << 14, BPF_F_NO_PREALLOC);
// Slots 0 … tasks - 1 of each service are there.
MAP(slots, BPF_MAP_TYPE_HASH, struct slot_key, struct address, 1 << 16, BPF_F_NO_PREALLOC);
// Client → its task of a sticky service.
MAP(sticky, BPF_MAP_TYPE_HASH, struct sticky_key, struct address, 1 << 14, BPF_F_NO_PREALLOC);

// Connected sockets.
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct connection);
} connections SEC(".maps");

static __always_inline bool equal(const struct address *a, const struct address *b) {
  return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] && a->word[3] == b->word[3];
}

static __always_inline struct address mapped(__u32 ipv4) {
  struct address address = {{0, 0, bpf_htonl(0xffff), ipv4}};
  return address;
}

static __always_inline struct address address6(struct bpf_sock_addr *ctx) {
  struct address address = {{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
  return address;
}

static __always_inline void set_address6(struct bpf_sock_addr *ctx, const struct address *to) {
  ctx->user_ip6[0] = to->word[0];
  ctx->user_ip6[1] = to->word[1];
  ctx->user_ip6[2] = to->word[2];
  ctx->user_ip6[3] = to->word[3];
}

// The service at `address`, on the first of the networks that has one there.
static __always_inline struct service *find_service(const struct networks *networks, const struct address *address, struct service_key *key) {
  key->virtual_ip = *address;
#pragma unroll
  for (int i = 0; i < NETWORKS_MAX; i++) {
    key->vni = networks->vni[i];
    if (key->vni == 0) return 0;
    struct service *service = bpf_map_lookup_elem(&services, key);
    if (service) return service;
  }
  return 0;
}

static __always_inline struct address *choose(__u64 netns, const struct service *service, const struct service_key *key) {
  if (service->sticky) {
    struct sticky_key client = {netns, *key, 0};
    struct address *task = bpf_map_lookup_elem(&sticky, &client);
    if (task) return task;
  }
  __u32 tasks = service->tasks;
  if (tasks == 0) return 0;
  struct slot_key slot = {*key, bpf_get_prandom_u32() % tasks};
  return bpf_map_lookup_elem(&slots, &slot);
}

// Whether `address` was a virtual IP and is a task's now.
static __always_inline bool connect_to(struct bpf_sock_addr *ctx, struct address *address) {
  if (ctx->protocol != IPPROTO_TCP) return false;
  __u64 netns = bpf_get_netns_cookie(ctx);
  struct networks *networks = bpf_map_lookup_elem(&networks_of, &netns);
  if (!networks) return false;
  struct bpf_sock *sk = ctx->sk;
  struct service_key key;
  struct service *service = find_service(networks, address, &key);
  struct address *task = service ? choose(netns, service, &key) : 0;
  if (!task) {
    // It may have been connected to a virtual IP before.
    if (sk) bpf_sk_storage_delete(&connections, sk);
    return false;
  }
  if (sk) {
    struct connection *connection = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (connection) {
      connection->virtual_ip = *address;
      connection->task = *task;
    }
  }
  *address = *task;
  return true;
}

// Whether `address`, a task's, is the peer of a connection to a virtual IP, which it is now.
static __always_inline bool peer_of(struct bpf_sock_addr *ctx, struct address *address) {
  struct bpf_sock *sk = ctx->sk;
  struct connection *connection = sk ? bpf_sk_storage_get(&connections, sk, 0, 0) : 0;
  if (!connection || !equal(&connection->task, address)) return false;
  *address = connection->virtual_ip;
  return true;
}

#define PROGRAMS(hook, decide)                          \
  SEC("cgroup/" #hook "4")                              \
  int starling_##hook##4(struct bpf_sock_addr *ctx) {   \
    struct address address = mapped(ctx->user_ip4);     \
    if (decide(ctx, &address)) ctx->user_ip4 = address.word[3]; \
    return 1;                                           \
  }                                                     \
  SEC("cgroup/" #hook "6")                              \
  int starling_##hook##6(struct bpf_sock_addr *ctx) {   \
    struct address address = address6(ctx);             \
    if (decide(ctx, &address)) set_address6(ctx, &address); \
    return 1;                                           \
  }

PROGRAMS(connect, connect_to)
PROGRAMS(getpeername, peer_of)

char program_license[] SEC("license") = "Apache-2.0";
