/* Hides AVX-512, AVX-VNNI, bf16 and AMX from a program, so that it runs as on a CPU that has AVX2 alone.
 *
 * For x86-64 Linux, on a CPU whose flags in /proc/cpuinfo name cpuid_fault. Measurements that ldeq remembers are of
 * the CPU that there is, so give it a cache folder of its own:
 *
 *     gcc -O2 -shared -fPIC -o hide_avx512.so benchmarks/hide_avx512.c
 *     LD_PRELOAD=$PWD/hide_avx512.so LDEQ_HOME=$(mktemp -d) python -m benchmarks.speed
 *
 * The kernel lets each CPUID instruction fault; the handler runs it, and clears bits of what it says. Clock rates and
 * caches stay those of the CPU that there is, and so do the features that the benchmark prints.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))

typedef int (*set_action)(int, const struct sigaction *, struct sigaction *);

/* What the program wants to be done about faults of its own. */
static struct sigaction wanted;

static set_action system_sigaction(void) { return (set_action)dlsym(RTLD_NEXT, "sigaction"); }

/* The program's call: PyTorch's workers and Python's faulthandler would take the handler's place. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *before) {
  if (signal != SIGSEGV) return system_sigaction()(signal, action, before);
  if (before) *before = wanted;
  if (action) wanted = *action;
  return 0;
}

static void cpuid_faults(int faults) { syscall(SYS_arch_prctl, ARCH_SET_CPUID, !faults); }

static void emulate(int signal, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
  if (info->si_code != SI_KERNEL || instruction[0] != 0x0f || instruction[1] != 0xa2) {
    system_sigaction()(signal, &wanted, NULL); /* a fault of the program's: it meets it again, as without this */
    return;
  }
  unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
  cpuid_faults(0);
  __cpuid_count(leaf, part, a, b, c, d);
  cpuid_faults(1);
  if (leaf == 7 && part == 0) { /* AVX-512 in all its parts, and AMX */
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
    c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
  }
  if (leaf == 7 && part == 1) { /* AVX-VNNI, bf16 and what came with them */
    a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23));
    d &= ~(BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19));
  }
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = emulate;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  system_sigaction()(SIGSEGV, &action, &wanted);
  cpuid_faults(1);
}
