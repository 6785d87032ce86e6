// Asks the system call filters that this process is under about every call, and lets none of them happen.
//
// On top of those filters comes one of its own, which hands each call to a supervisor (SECCOMP_RET_USER_NOTIF). The kernel takes the
// strictest answer of all filters, so that a call which an earlier one refuses never reaches the supervisor; one that does is
// answered with an error of its own. A line for each: "ABI NUMBER [FIRST ARGUMENT] let-through|errno N|signal N".
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kReached = 4000, kQuestionsMax = 8192 };
enum Abi { kNative, kX32, kI386 };
static const char* const kAbis[] = {"native", "x32", "i386"};

struct Question {
  enum Abi abi;
  uint32_t number;
  int has_argument;
  uint64_t argument;
};

static struct Question questions[kQuestionsMax];
static unsigned count;

static void Ask(enum Abi abi, uint32_t number, int has_argument, uint64_t argument) {
  if (count < kQuestionsMax) questions[count++] = (struct Question){abi, number, has_argument, argument};
}

// What rules look at besides the number: families of sockets, execution domains, flags of clone.
static void AskArguments(enum Abi abi, uint32_t socket_number, uint32_t personality_number, uint32_t clone_number) {
  for (uint64_t family = 0; family < 50; family++) Ask(abi, socket_number, 1, family);
  static const uint64_t kDomains[] = {0, 1, 8, 0x40000, 0x20000, 0x20008, 0x0040000, 0x0100000, 0x0400000, 0xffffffff};
  for (size_t i = 0; i < sizeof kDomains / sizeof *kDomains; i++) Ask(abi, personality_number, 1, kDomains[i]);
  for (int bit = 0; bit < 32; bit++) Ask(abi, clone_number, 1, UINT64_C(1) << bit);
}

static long Call(const struct Question* q) {
  long result;
  uint64_t argument = q->has_argument ? q->argument : 0;
#if defined(__x86_64__)
  if (q->abi == kI386) {
    uint32_t low;
    __asm__ volatile("push %%rbx; mov %2, %%ebx; int $0x80; pop %%rbx"
                     : "=a"(low)
                     : "0"(q->number), "r"((uint32_t)argument), "c"(0), "d"(0), "S"(0), "D"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int32_t)low;
  }
  uint64_t number = q->abi == kX32 ? q->number | 0x40000000u : q->number;
  register long r10 __asm__("r10") = 0;
  register long r8 __asm__("r8") = 0;
  register long r9 __asm__("r9") = 0;
  __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(argument), "S"(0), "d"(0), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = q->number;
  register long x0 __asm__("x0") = (long)argument;
  register long x1 __asm__("x1") = 0;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  register long x5 __asm__("x5") = 0;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  result = x0;
#endif
  return result;
}

// Shared with the child, which can make no call that is not a question.
struct Shared {
  volatile int listener;
  volatile unsigned done;
  volatile long answers[kQuestionsMax];
};

static void Child(struct Shared* shared) {
  struct sock_filter rules[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)};
  struct sock_fprog program = {1, rules};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(3);
  long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  shared->listener = fd < 0 ? -errno : (int)fd;
  if (fd >= 0) {
    for (unsigned i = shared->done; i < count; shared->done = ++i) shared->answers[i] = Call(&questions[i]);
  }
  for (;;) {
  }
}

// Answers the child until it has asked everything. A filter that kills ends it at a question: 0, and its status.
static int Serve(int listener, pid_t child, struct Shared* shared, int* status) {
  while (shared->done < count) {
    struct pollfd item = {listener, POLLIN, 0};
    int ready = poll(&item, 1, 20);
    if (waitpid(child, status, WNOHANG) == child) return 0;
    if (ready <= 0 || (item.revents & POLLIN) == 0) continue;
    struct seccomp_notif request;
    memset(&request, 0, sizeof request);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
    struct seccomp_notif_resp response = {request.id, 0, -kReached, 0};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
  return 1;
}

int main(void) {
#if defined(__x86_64__)
  for (uint32_t number = 0; number < 600; number++) Ask(kNative, number, 0, 0);
  for (uint32_t number = 0; number < 600; number++) Ask(kX32, number, 0, 0);
  for (uint32_t number = 0; number < 600; number++) Ask(kI386, number, 0, 0);
  AskArguments(kNative, SYS_socket, SYS_personality, SYS_clone);
  AskArguments(kI386, 359, 136, 120);
#else
  for (uint32_t number = 0; number < 600; number++) Ask(kNative, number, 0, 0);
  AskArguments(kNative, SYS_socket, SYS_personality, SYS_clone);
#endif
  struct Shared* shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 3;
  while (shared->done < count) {
    shared->listener = 0;
    // One table of descriptors for both: the child cannot hand its listener over, and pidfd_getfd may be refused.
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child < 0) return 3;
    if (child == 0) Child(shared);
    int status = 0;
    while (shared->listener == 0) {
      if (waitpid(child, &status, WNOHANG) == child) return 3;
    }
    if (shared->listener < 0) {
      fprintf(stderr, "seccomp: %s\n", strerror(-shared->listener));
      return 3;
    }
    int listener = shared->listener;
    int whole = Serve(listener, child, shared, &status);
    if (!whole) {
      shared->answers[shared->done] = WIFSIGNALED(status) ? 10000 + WTERMSIG(status) : 10000;
      shared->done++;
    } else {
      kill(child, SIGKILL);
      waitpid(child, NULL, 0);
    }
    close(listener);
  }
  for (unsigned i = 0; i < count; i++) {
    const struct Question* q = &questions[i];
    long answer = shared->answers[i];
    printf("%s %u", kAbis[q->abi], q->number);
    if (q->has_argument) printf(" 0x%llx", (unsigned long long)q->argument);
    if (answer == -kReached) puts(" let-through");
    else if (answer >= 10000) printf(" signal %ld\n", answer - 10000);
    else printf(" errno %ld\n", -answer);
  }
  return 0;
}
