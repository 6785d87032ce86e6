// A test host: namespaces of its own, held by a first process that reaps orphans.
//
//   host create --name NAME --log FILE [--state DIR] [--bind SOURCE TARGET]… [--cgroup DIR]…
//       Makes net, mount, pid, uts and ipc namespaces, prints the pid of their first process, and ends. Killing that
//       process ends everything in the host. Without --state the host has only a network (a switch): no mounts are made.
//   host enter --pid PID --start TICKS [--cgroup DIR]… [--detach FILE] -- COMMAND ARGUMENT…
//       Runs a command in the host: exits as it does, forwards signals, and takes it along when killed. With --detach the
//       command belongs to the host's first process, writes to FILE, and its pid inside the host is printed.
//   host kill --pid PID --start TICKS
//       The power cut. Returns when every process of the host is gone; fine if it already was.
//
// PID is always checked against TICKS, its start time (field 22 of /proc/PID/stat): a reused pid is never touched.
// Exit status 125: this tool failed (one line says why); 126, 127: the command could not be run, was not found.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 32

static struct {
  const char *name, *state, *log, *detach;
  const char *bind_source[MANY], *bind_target[MANY], *cgroup[MANY];
  int binds, cgroups;
  pid_t pid;
  unsigned long long start;
  char **command;
} options;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
  int error = errno;
  va_list args;
  va_start(args, format);
  fprintf(stderr, "host: ");
  vfprintf(stderr, format, args);
  fprintf(stderr, ": %s\n", strerror(error));
  exit(125);
}

static void must_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  if (mount(source, target, type, flags, data) < 0) fail("mount %s on %s", type ? type : source, target);
}

static int open_cgroup(const char *dir) {
  char path[4096];
  snprintf(path, sizeof path, "%s/cgroup.procs", dir);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) fail("open %s", path);
  return fd;
}

static void join_cgroup(int fd, const char *dir) {
  if (write(fd, "0", 1) != 1) fail("join cgroup %s", dir);
}

static void log_to(int fd) {
  int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) fail("redirect output");
  syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
}

// Detaches, in this mount namespace only, what other programs of the machine have mounted for themselves: a mount that is
// copied into a host would keep their namespaces and file systems busy.
static void drop_foreign_mounts(void) {
  static const char *const places[] = {"/run/", "/tmp/", "/var/lib/swarmd", "/var/lib/starling", "/var/lib/docker"};
  static char points[4096][512];
  int count = 0;
  FILE *file = fopen("/proc/self/mountinfo", "re");
  if (!file) fail("open /proc/self/mountinfo");
  char line[8192], point[512];
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "%*s %*s %*s %*s %511s", point) != 1) continue;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
      if (strncmp(point, places[i], strlen(places[i])) == 0 && count < 4096) strcpy(points[count++], point);
  }
  fclose(file);
  // What can't be detached (already gone with its parent) is not ours to care about.
  while (count-- > 0) umount2(points[count], MNT_DETACH);
}

static void make_mounts(void) {
  must_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
  drop_foreign_mounts();
  if (mkdir("/var/lib/swarmd", 0755) < 0 && errno != EEXIST) fail("mkdir /var/lib/swarmd");
  must_mount(options.state, "/var/lib/swarmd", NULL, MS_BIND, NULL);
  for (int i = 0; i < options.binds; i++)
    must_mount(options.bind_source[i], options.bind_target[i], NULL, MS_BIND, NULL);
  must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  must_mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256m");
  // A sysfs of this network namespace, with the machine's cgroup hierarchies and a private bpffs in it.
  if (mkdir("/run/.sys", 0755) < 0) fail("mkdir /run/.sys");
  must_mount("sysfs", "/run/.sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  must_mount("/sys/fs/cgroup", "/run/.sys/fs/cgroup", NULL, MS_BIND | MS_REC, NULL);
  must_mount("bpf", "/run/.sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700");
  must_mount("/run/.sys", "/sys", NULL, MS_MOVE, NULL);
  rmdir("/run/.sys");
  mkdir("/run/lock", 01777);
}

// The host's first process: reaps whatever is orphaned, for ever.
__attribute__((noreturn)) static void be_init(int ready) {
  int log = open(options.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) fail("open %s", options.log);
  if (sethostname(options.name, strlen(options.name)) < 0) fail("sethostname %s", options.name);
  if (options.state) make_mounts();
  if (chdir("/") < 0 || setsid() < 0) fail("setsid");
  if (write(ready, "+", 1) != 1) fail("report readiness");
  log_to(log);
  close(ready);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0) {
      siginfo_t info;
      sigwaitinfo(&all, &info);
    } else if (WIFSIGNALED(status)) {
      dprintf(2, "process %d ended by signal %d\n", pid, WTERMSIG(status));
    } else if (WEXITSTATUS(status)) {
      dprintf(2, "process %d exited with status %d\n", pid, WEXITSTATUS(status));
    }
  }
}

static int do_create(void) {
  int ready[2];
  for (int i = 0; i < options.cgroups; i++) join_cgroup(open_cgroup(options.cgroup[i]), options.cgroup[i]);
  if (pipe2(ready, O_CLOEXEC) < 0) fail("pipe");
  unsigned long flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC;
  pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) fail("clone");
  if (pid == 0) be_init(ready[1]);
  close(ready[1]);
  char byte;
  if (read(ready[0], &byte, 1) != 1) {
    waitpid(pid, NULL, 0);
    return 125; // the child has said why
  }
  printf("%d\n", pid);
  return 0;
}

// A pidfd of the host's first process, or -1 if that process is gone (whoever has its pid now).
static int open_init(void) {
  int pidfd = (int)syscall(SYS_pidfd_open, options.pid, 0);
  if (pidfd < 0) return -1;
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", options.pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  unsigned long long start = 0;
  if (n > 0) {
    text[n] = 0;
    char *field = strrchr(text, ')'); // end of field 2, the command's name
    for (int i = 2; field && i < 22; i++) field = strchr(field + 1, ' ');
    if (field) start = strtoull(field, NULL, 10);
  }
  if (start == options.start) return pidfd;
  close(pidfd);
  return -1;
}

static void run_command(const int *cgroup_fds) {
  for (int i = 0; i < options.cgroups; i++) join_cgroup(cgroup_fds[i], options.cgroup[i]);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execvp(options.command[0], options.command);
}

// REQUIRES: already in the host's namespaces. Forks twice, so that the command is a child of the host's first process.
static int run_detached(const int *cgroup_fds, int log) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) < 0) fail("pipe");
  pid_t between = fork();
  if (between < 0) fail("fork");
  if (between == 0) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child > 0) _exit(dprintf(1, "%d\n", child) < 0);
    setsid();
    int error_fd = fcntl(report[1], F_DUPFD_CLOEXEC, 3);
    log_to(log);
    run_command(cgroup_fds);
    int error = errno;
    if (write(error_fd, &error, sizeof error) < 0) _exit(126);
    _exit(127);
  }
  close(report[1]);
  int error = 0;
  waitpid(between, NULL, 0);
  if (read(report[0], &error, sizeof error) == sizeof error) {
    fprintf(stderr, "host: exec %s: %s\n", options.command[0], strerror(error));
    return error == ENOENT ? 127 : 126;
  }
  return 0;
}

static int run_attached(const int *cgroup_fds) {
  int alive[2];
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  if (pipe2(alive, O_CLOEXEC) < 0) fail("pipe");
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(alive[1]);
    if (read(alive[0], &byte, 1) != 1) _exit(125); // the parent died before the line above
    run_command(cgroup_fds);
    fprintf(stderr, "host: exec %s: %s\n", options.command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
  }
  if (write(alive[1], "+", 1) != 1) fail("start command");
  for (;;) {
    siginfo_t info;
    int status, number = sigwaitinfo(&all, &info);
    if (number == SIGCHLD) {
      if (waitpid(child, &status, WNOHANG) != child) continue;
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      struct rlimit no_core = {0, 0};
      setrlimit(RLIMIT_CORE, &no_core);
      signal(WTERMSIG(status), SIG_DFL);
      sigprocmask(SIG_UNBLOCK, &all, NULL);
      raise(WTERMSIG(status));
      return 128 + WTERMSIG(status);
    }
    // A terminal's signals reach the command directly.
    if (number > 0 && info.si_code <= 0) kill(child, number);
  }
}

static int do_enter(void) {
  int cgroup_fds[MANY];
  char cwd[4096];
  if (!options.detach) prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 0; i < options.cgroups; i++) cgroup_fds[i] = open_cgroup(options.cgroup[i]);
  int log = -1;
  if (options.detach && (log = open(options.detach, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
    fail("open %s", options.detach);
  if (!getcwd(cwd, sizeof cwd)) strcpy(cwd, "/");
  int pidfd = open_init();
  if (pidfd < 0) {
    errno = ESRCH;
    fail("enter: the host is down");
  }
  if (setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC) < 0) fail("setns");
  close(pidfd);
  if (chdir(cwd) < 0 && chdir("/") < 0) fail("chdir");
  return options.detach ? run_detached(cgroup_fds, log) : run_attached(cgroup_fds);
}

static int do_kill(void) {
  int pidfd = open_init();
  if (pidfd < 0) return 0;
  if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH) fail("kill %d", options.pid);
  struct pollfd fd = {.fd = pidfd, .events = POLLIN};
  int ended = poll(&fd, 1, 30000);
  if (ended < 0) fail("poll");
  if (ended == 0) {
    errno = ETIMEDOUT;
    fail("kill: a process of the host does not end");
  }
  return 0;
}

static int usage(void) {
  fprintf(stderr, "host: usage: host create|enter|kill OPTIONS, see the head of host.c\n");
  return 125;
}

int main(int argc, char **argv) {
  if (argc < 2) return usage();
  for (int i = 2; i < argc; i++) {
    const char *flag = argv[i];
    if (strcmp(flag, "--") == 0) {
      options.command = &argv[i + 1];
      break;
    }
    if (i + 1 >= argc) return usage();
    char *value = argv[++i];
    if (strcmp(flag, "--name") == 0) options.name = value;
    else if (strcmp(flag, "--state") == 0) options.state = value;
    else if (strcmp(flag, "--log") == 0) options.log = value;
    else if (strcmp(flag, "--detach") == 0) options.detach = value;
    else if (strcmp(flag, "--pid") == 0) options.pid = atoi(value);
    else if (strcmp(flag, "--start") == 0) options.start = strtoull(value, NULL, 10);
    else if (strcmp(flag, "--cgroup") == 0 && options.cgroups < MANY) options.cgroup[options.cgroups++] = value;
    else if (strcmp(flag, "--bind") == 0 && options.binds < MANY && i + 1 < argc) {
      options.bind_source[options.binds] = value;
      options.bind_target[options.binds++] = argv[++i];
    } else return usage();
  }
  if (strcmp(argv[1], "create") == 0 && options.name && options.log) return do_create();
  if (strcmp(argv[1], "enter") == 0 && options.pid && options.command && options.command[0]) return do_enter();
  if (strcmp(argv[1], "kill") == 0 && options.pid) return do_kill();
  return usage();
}
