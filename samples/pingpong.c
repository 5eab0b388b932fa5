// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Two programs that exchange messages in lock step, over a stream or over TCP: a request of SIZE
 * bytes, then an answer of SIZE bytes. With blocking calls, or (-e) with epoll.
 *
 *	cc -O2 -Wall -o pingpong pingpong.c
 *	b# pingpong answer /dev/tbstream0 10240
 *	a# pingpong ask /dev/tbstream0 10240 1000
 *
 * HOST:PORT instead of the device is TCP. pingpong.py and pingpong-uring do the same, and any one of
 * them talks to any other.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WARM_UP 20

static int stream;
static int events = -1; /* the epoll instance; -1: calls that block */

/* Waits until the stream can be read (EPOLLIN) or written (EPOLLOUT). Errors count as both: the call
 * itself tells which. */
static void wait_for(uint32_t what)
{
	struct epoll_event event = { .events = what };

	if (epoll_ctl(events, EPOLL_CTL_MOD, stream, &event))
		err(1, "epoll_ctl");
	while (epoll_wait(events, &event, 1, -1) < 0)
		if (errno != EINTR)
			err(1, "epoll_wait");
}

/* A read returns what is there, which may be less than a message. False at the end of the stream,
 * which must not be in the middle of one. */
static bool receive(char *message, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(stream, message + done, size - done);

		if (n > 0)
			done += n;
		else if (n == 0 && done == 0)
			return false;
		else if (n == 0)
			errx(1, "the stream ended in the middle of a message");
		else if (errno == EAGAIN)
			wait_for(EPOLLIN);
		else if (errno != EINTR)
			err(1, "read");
	}
	return true;
}

static void send_all(const char *message, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(stream, message + done, size - done);

		if (n >= 0)
			done += n;
		else if (errno == EAGAIN)
			wait_for(EPOLLOUT);
		else if (errno != EINTR)
			err(1, "write");
	}
}

static int open_tcp(char *target, bool listening)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = listening ? AI_PASSIVE : 0 };
	struct addrinfo *address;
	char *port = strrchr(target, ':');
	int fd, on = 1;

	*port++ = 0;
	if (getaddrinfo(*target ? target : NULL, port, &hints, &address))
		errx(1, "%s: no such address", target);
	fd = socket(address->ai_family, SOCK_STREAM, 0);
	if (fd < 0)
		err(1, "socket");
	if (!listening) {
		if (connect(fd, address->ai_addr, address->ai_addrlen))
			err(1, "connect");
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, 1))
			err(1, "listen");
		fd = accept(fd, NULL, NULL);
		if (fd < 0)
			err(1, "accept");
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void open_target(char *target, bool answering, bool with_epoll)
{
	struct epoll_event event = { 0 };

	if (target[0] == '/')
		stream = open(target, O_RDWR);
	else if (strchr(target, ':'))
		stream = open_tcp(target, answering);
	else
		errx(2, "%s is neither a device nor HOST:PORT", target);
	if (stream < 0)
		err(1, "%s", target);
	if (!with_epoll)
		return;
	if (fcntl(stream, F_SETFL, O_NONBLOCK))
		err(1, "fcntl");
	events = epoll_create1(0);
	if (events < 0 || epoll_ctl(events, EPOLL_CTL_ADD, stream, &event))
		err(1, "epoll");
}

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void ask(char *message, size_t size, size_t rounds)
{
	double *times = calloc(rounds, sizeof(*times));
	char *answer = malloc(size);

	if (!times || !answer)
		err(1, "memory");
	for (size_t i = 0; i < rounds + WARM_UP; i++) {
		double begin = now_us();

		/* Every round has contents of its own: an answer to another question is noticed. */
		memcpy(message, &i, sizeof(i));
		send_all(message, size);
		if (!receive(answer, size))
			errx(1, "the other side has gone");
		if (i >= WARM_UP)
			times[i - WARM_UP] = now_us() - begin;
		if (memcmp(message, answer, size))
			errx(1, "round %zu: a wrong answer", i);
	}
	qsort(times, rounds, sizeof(*times), compare);
	printf("%zu rounds of %zu bytes: p50 %.0f us, p90 %.0f us, p99 %.0f us, max %.0f us\n", rounds, size,
	       times[rounds / 2], times[rounds * 9 / 10], times[rounds * 99 / 100], times[rounds - 1]);
}

int main(int argc, char **argv)
{
	bool with_epoll = argc > 1 && !strcmp(argv[1], "-e");
	char **words = argv + 1 + with_epoll;
	int count = argc - 1 - with_epoll;
	bool asking = count == 4 && !strcmp(words[0], "ask");
	size_t size, rounds;
	char *message;

	if (!asking && !(count == 3 && !strcmp(words[0], "answer")))
		errx(2, "usage: pingpong [-e] answer TARGET SIZE | ask TARGET SIZE ROUNDS");
	size = strtoul(words[2], NULL, 10);
	rounds = asking ? strtoul(words[3], NULL, 10) : 1;
	if (size < sizeof(size_t) || !rounds)
		errx(2, "at least 8 bytes and 1 round");
	message = malloc(size);
	if (!message)
		err(1, "memory");
	for (size_t i = 0; i < size; i++)
		message[i] = i * 31 + i / 4096;
	open_target(words[1], !asking, with_epoll);
	if (asking)
		ask(message, size, rounds);
	else
		while (receive(message, size))
			send_all(message, size);
	return 0;
}
