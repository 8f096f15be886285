/* step.c: which addresses a program runs through, in the order of the first time.
 *
 *   step FROM TO PROGRAM ARGUMENTS...
 *
 * Runs the program, and every process it makes, instruction by instruction (ptrace(2), PTRACE_SINGLESTEP), and prints each
 * address from FROM to TO (hexadecimal) of which the block of 16 bytes had not been entered before. A process that executes
 * something else is let go. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether a process executes a file of the program's name: another program has other things at the same addresses. */
static int is_program(pid_t pid, const char *program)
{
	char path[64], exe[4096];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	length = readlink(path, exe, sizeof exe - 1);
	if (length < 0)
		return 0;
	exe[length] = 0;
	return !strcmp(basename(exe), basename(program));
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	unsigned long from = strtoul(argv[1], NULL, 16), to = strtoul(argv[2], NULL, 16);
	unsigned char *seen = calloc((to - from) / 16 + 1, 1);
	pid_t first = fork();
	int status;

	if (!seen || first < 0)
		return 1;
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	waitpid(first, &status, 0);
	ptrace(PTRACE_SETOPTIONS, first, 0,
	       PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
	ptrace(PTRACE_SINGLESTEP, first, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		int signal;

		if (pid < 0)
			return 0;
		if (WIFEXITED(status) || WIFSIGNALED(status))
			continue;
		signal = WSTOPSIG(status);
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8) && !is_program(pid, argv[3])) {
			ptrace(PTRACE_DETACH, pid, 0, 0);
			continue;
		}
		if (signal == SIGTRAP || status >> 16) {
			struct user_regs_struct regs;

			if (!ptrace(PTRACE_GETREGS, pid, 0, &regs) && regs.rip >= from && regs.rip < to &&
			    !seen[(regs.rip - from) / 16]) {
				seen[(regs.rip - from) / 16] = 1;
				printf("%llx\n", (unsigned long long)regs.rip);
			}
			signal = 0;
		} else if (signal == SIGSTOP) {
			signal = 0;
		}
		ptrace(PTRACE_SINGLESTEP, pid, 0, signal);
	}
}
