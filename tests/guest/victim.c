/*
 * victim fuzz SEED CALLS: calls of /dev/vas with arguments that are right, nearly right, or noise.
 * victim kill SEED TIMES: processes that use segments in every way, each killed after a while.
 * Both end with every name taken away, and say how many objects there were.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vas.h"

#define NAMES 8
#define BYTES (1 << 20)

static unsigned long long state;
static int device;

static unsigned long long chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void need(int good, const char *what)
{
	if (!good) {
		perror(what);
		exit(1);
	}
}

static void name_into(char *name)
{
	sprintf(name, "victim%d", (int)(chance() % NAMES));
}

static unsigned long long find(unsigned int kind)
{
	struct vas_find f = { .kind = kind };

	name_into(f.name);
	return ioctl(device, VAS_FIND, &f) ? 0 : f.id;
}

static int clear(void)
{
	struct vas_attributes a = {};
	int count = 0;

	while (!ioctl(device, VAS_NEXT, &a)) {
		struct vas_delete d = { .id = a.id };

		need(!ioctl(device, VAS_DELETE, &d), "VAS_DELETE");
		/* It came back as the kind that was found. */
		a.kind = 0;
		count++;
	}
	need(errno == ENOENT, "VAS_NEXT");
	return count;
}

/* What a fuzzed call gave is used now and then, and closed before there are too many. */
static void close_all(void)
{
	int fd;

	for (fd = device + 1; fd < 200; fd++)
		close(fd);
}

static unsigned long long number(void)
{
	static const unsigned long long odd[] = { 0, 1, 2, 3, 4, 5, 0600, 0644, 4096, BYTES, -1ull,
		-1ull >> 1, 1ull << 63, 1ull << 32, 0xffffffff, 0x7fffffff };

	switch (chance() % 3) {
	case 0: return odd[chance() % (sizeof(odd) / sizeof(*odd))];
	case 1: return chance() % 64;
	default: return chance();
	}
}

static void fuzz_once(void)
{
	static const unsigned int known[] = { VAS_GET_VERSION, VAS_CREATE, VAS_PUBLISH, VAS_FIND,
		VAS_ATTACH, VAS_GET, VAS_SET, VAS_NEXT, VAS_DELETE, VAS_BIND, VAS_UNBIND,
		VAS_NEXT_BINDING };
	unsigned int command = known[chance() % (sizeof(known) / sizeof(*known))];
	union {
		unsigned char bytes[512];
		unsigned int words[128];
		struct vas_create create;
		struct vas_publish publish;
		struct vas_find find;
	} a;
	unsigned int i;
	void *at = &a;

	memset(&a, 0, sizeof(a));
	for (i = 0; i < 8; i++)
		if (chance() % 2)
			a.words[i] = number();
	if (command == VAS_CREATE && chance() % 2)
		a.create = (struct vas_create){ 1 + chance() % 2, 0600, 0, -1, 0, 0, 0 };
	if (command == VAS_CREATE && chance() % 2)
		a.create.max_bytes = BYTES;
	if (command == VAS_PUBLISH && chance() % 2) {
		a.publish.fd = device + 1 + chance() % 20;
		a.publish.lock_fd = chance() % 3 ? a.publish.fd + 1 : -1;
		name_into(a.publish.name);
	}
	if (command == VAS_FIND && chance() % 2) {
		a.find = (struct vas_find){ 1 + chance() % 2, 0, 0, "" };
		name_into(a.find.name);
	}
	if (chance() % 16 == 0)
		command = chance() % 4 ? command ^ 1u << chance() % 32 : (unsigned int)chance();
	if (chance() % 16 == 0)
		at = chance() % 2 ? NULL : (void *)number();
	ioctl(device, command, at);
}

/* Uses what it has: growth, writing, mapping, other openings, locks, permission bits. */
static void use(int fd)
{
	char path[64], *memory;
	int again;

	if (fallocate(fd, 0, chance() % BYTES, 1 + chance() % 65536))
		errno = 0;
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED) {
		if (lseek(fd, 0, SEEK_END) > 0)
			memory[0]++;
		if (chance() % 2)
			munmap(memory, BYTES);
	}
	sprintf(path, "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	flock(fd, LOCK_EX | LOCK_NB);
	if (ftruncate(fd, chance() % BYTES) == 0)
		errno = 0;
	fchmod(fd, 0600);
	close(again);
}

static void victim_step(void)
{
	unsigned int kind = 1 + chance() % 2;
	struct vas_create c = { .kind = kind, .mode = 0600, .dax_fd = -1 };
	struct vas_publish p = {};
	struct vas_attach t = { .access = chance() % 2 ? VAS_READ : VAS_READ_WRITE };
	struct vas_binding b = { .access = VAS_READ };
	struct vas_delete d = { .flags = chance() % 2 };

	c.max_bytes = kind == VAS_SEGMENT ? BYTES : 0;
	if (!ioctl(device, VAS_CREATE, &c)) {
		use(c.fd);
		p.fd = c.fd;
		p.lock_fd = c.lock_fd;
		name_into(p.name);
		ioctl(device, VAS_PUBLISH, &p);
	}
	t.id = find(VAS_SEGMENT);
	if (!ioctl(device, VAS_ATTACH, &t))
		use(t.fd);
	b.space = find(VAS_SPACE);
	b.segment = find(VAS_SEGMENT);
	ioctl(device, chance() % 4 ? VAS_BIND : VAS_UNBIND, &b);
	ioctl(device, VAS_NEXT_BINDING, &b);
	if (chance() % 2) {
		d.id = find(kind);
		ioctl(device, VAS_DELETE, &d);
	}
	if (chance() % 4 == 0)
		close_all();
}

static void kill_one(void)
{
	int status, child = fork();

	need(child >= 0, "fork");
	if (!child)
		for (;;)
			victim_step();
	usleep(chance() % 20000);
	kill(child, SIGKILL);
	need(waitpid(child, &status, 0) == child, "waitpid");
	need(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a victim that was not killed");
	chance();
}

int main(int count, char **arguments)
{
	int left, i, fuzzing = count == 4 && !strcmp(arguments[1], "fuzz");

	need(count == 4, "three arguments");
	state = strtoull(arguments[2], NULL, 0) | 1;
	device = open("/dev/vas", O_RDWR);
	need(device >= 0, "/dev/vas");
	for (i = 0; i < atoi(arguments[3]); i++) {
		if (!fuzzing) {
			kill_one();
			continue;
		}
		fuzz_once();
		if (i % 64 == 0)
			close_all();
	}
	left = clear();
	printf("%s: seed %s, %d times, %d objects at the end\n", arguments[1], arguments[2], i, left);
	return 0;
}
