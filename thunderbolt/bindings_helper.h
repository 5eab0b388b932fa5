/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads to generate the bindings that the kernel crate lacks.
 *
 * Macros with arguments (BIT() and the like) give nothing: constants that need one are
 * spelled out below, the compiler checks them.
 */

#include <linux/configfs.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/thunderbolt.h>

static const unsigned int TBS_RING_FLAG_NO_SUSPEND = RING_FLAG_NO_SUSPEND;
static const unsigned int TBS_RING_FLAG_FRAME = RING_FLAG_FRAME;
static const unsigned int TBS_RING_FLAG_E2E = RING_FLAG_E2E;
#ifdef RING_FLAG_NO_INTERRUPT
static const unsigned int TBS_RING_FLAG_NO_INTERRUPT = RING_FLAG_NO_INTERRUPT;
#endif

/* For the fake peer of the KUnit suites. */
static const gfp_t TBS_IDA_INIT_FLAGS = IDA_INIT_FLAGS;

/* For the device node. */
static const unsigned int TBS_FMODE_READ = (__force unsigned int)FMODE_READ;
static const unsigned int TBS_FMODE_WRITE = (__force unsigned int)FMODE_WRITE;
static const unsigned int TBS_FMODE_NOWAIT = (__force unsigned int)FMODE_NOWAIT;
static const unsigned int TBS_IOCB_NOWAIT = (__force unsigned int)IOCB_NOWAIT;
static const unsigned int TBS_EPOLLIN = (__force unsigned int)(EPOLLIN | EPOLLRDNORM);
static const unsigned int TBS_EPOLLOUT = (__force unsigned int)(EPOLLOUT | EPOLLWRNORM);
static const unsigned int TBS_EPOLLERR = (__force unsigned int)EPOLLERR;
static const unsigned int TBS_EPOLLHUP = (__force unsigned int)EPOLLHUP;
static const unsigned int TBS_EPOLLRDHUP = (__force unsigned int)EPOLLRDHUP;
