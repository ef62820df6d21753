#include "io/tcp_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTEN_BACKLOG_COUNT 1024
/* A peer whose machine is gone is noticed after about a minute of silence. */
#define KEEPALIVE_IDLE_S     30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT      3

/* "host:port" or "[v6]:port" taken apart. False when it does not look like that. */
static bool address_split(const char *address, char *host, size_t host_bytes_max,
                          const char **out_port)
{
    const char *colon = strrchr(address, ':');
    if (!colon)
        return false;
    const char *start = address;
    const char *end = colon;
    if (*start == '[') {
        if (end == start || end[-1] != ']')
            return false;
        start++;
        end--;
    } else if (memchr(start, ':', (size_t)(end - start))) {
        return false; /* an IPv6 address needs brackets */
    }
    size_t bytes_count = (size_t)(end - start);
    if (bytes_count >= host_bytes_max)
        return false;
    memcpy(host, start, bytes_count);
    host[bytes_count] = '\0';
    const char *port = colon + 1;
    size_t digits_count = strspn(port, "0123456789");
    if (digits_count == 0 || digits_count > 5 || port[digits_count] != '\0' ||
        strtoul(port, NULL, 10) > UINT16_MAX)
        return false;
    *out_port = port;
    return true;
}

/* The host is asked of the resolver only when it is not a number. */
static int address_resolve(const char *address, bool passive, struct addrinfo **out_addresses)
{
    char host[IO_ADDRESS_TEXT_MAX];
    const char *port;
    if (!address_split(address, host, sizeof(host), &port))
        return OST_INVALID_ARGUMENT;
    if (!passive && (host[0] == '\0' || strtoul(port, NULL, 10) == 0))
        return OST_INVALID_ARGUMENT;
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
    };
    const char *node = host[0] == '\0' ? NULL : host;
    int error = getaddrinfo(node, port, &hints, out_addresses);
    if (error == EAI_NONAME) {
        hints.ai_flags &= ~AI_NUMERICHOST;
        error = getaddrinfo(node, port, &hints, out_addresses);
    }
    if (error == 0)
        return OST_OK;
    log_write(LOG_WARN, "cannot resolve an address", "address=\"%s\" reason=\"%s\"", address,
              gai_strerror(error));
    return error == EAI_AGAIN ? OST_DISCONNECTED : OST_INVALID_ARGUMENT;
}

static void address_print(const struct sockaddr_storage *address, char *text, size_t text_bytes_max)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        snprintf(text, text_bytes_max, "%s:%u", host, ntohs(in.sin_port));
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof(in6));
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            inet_ntop(AF_INET, &in6.sin6_addr.s6_addr[12], host, sizeof(host));
            snprintf(text, text_bytes_max, "%s:%u", host, ntohs(in6.sin6_port));
        } else {
            inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
            snprintf(text, text_bytes_max, "[%s]:%u", host, ntohs(in6.sin6_port));
        }
    } else {
        snprintf(text, text_bytes_max, "unknown");
    }
}

/* Accepted sockets inherit all of these from the listener, at no cost for each. */
static void socket_set_options(int fd)
{
    const int on = 1;
    const int idle_s = KEEPALIVE_IDLE_S;
    const int interval_s = KEEPALIVE_INTERVAL_S;
    const int count = KEEPALIVE_COUNT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* Not O_NONBLOCK: the ring would then report EAGAIN instead of waiting. */
static int socket_new(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        socket_set_options(fd);
    return fd;
}

static int socket_listen(const struct addrinfo *address, int *out_fd)
{
    const int on = 1;
    const int off = 0;
    int fd = socket_new(address->ai_family);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(fd, LISTEN_BACKLOG_COUNT) != 0) {
        int error = errno;
        close(fd);
        return error;
    }
    *out_fd = fd;
    return 0;
}

/* The first address that works; with no host, IPv6 first, since that serves IPv4 as well. */
static int addresses_listen(const struct addrinfo *addresses, bool any_host, int *out_fd)
{
    int error = EADDRNOTAVAIL;
    for (int pass = any_host ? 0 : 1; pass < 2; pass++) {
        for (const struct addrinfo *address = addresses; address; address = address->ai_next) {
            if (pass == 0 && address->ai_family != AF_INET6)
                continue;
            error = socket_listen(address, out_fd);
            if (error == 0 || error == EADDRINUSE)
                return error;
        }
    }
    return error;
}

static uint16_t socket_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t address_bytes = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &address_bytes) != 0)
        return 0;
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &address, sizeof(in6));
        return ntohs(in6.sin6_port);
    }
    struct sockaddr_in in;
    memcpy(&in, &address, sizeof(in));
    return ntohs(in.sin_port);
}

static void listener_free(struct tcp_listener *listener)
{
    close(listener->fd);
    free(listener);
}

static void connection_accepted(struct io_tcp *tcp, int fd)
{
    if (tcp->accepted_count >= tcp->options.connections_count_max) {
        close(fd);
        tcp->metrics->connections_rejected_count++;
        log_write(LOG_WARN, "closed a new connection because there are too many",
                  "connections_count_max=%u", tcp->options.connections_count_max);
        return;
    }
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t address_bytes = sizeof(address);
    if (getpeername(fd, (struct sockaddr *)&address, &address_bytes) != 0) {
        close(fd); /* gone already */
        return;
    }
    char text[IO_ADDRESS_TEXT_MAX];
    address_print(&address, text, sizeof(text));
    struct tcp_connection *connection = tcp_connection_new(tcp, fd, CONNECTION_OPEN);
    connection->accepted = true;
    tcp->accepted_count++;
    tcp_connection_mark_ready(connection);
    tcp->callbacks.accepted(tcp->context, connection->id, text);
}

static void accept_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct tcp_listener *listener = CONTAINER_OF(operation, struct tcp_listener, operation);
    struct io_tcp *tcp = listener->tcp;
    if (result >= 0 && listener->stopping)
        close(result);
    else if (result >= 0)
        connection_accepted(tcp, result); /* the user may stop listening in it */
    if (flags & IORING_CQE_F_MORE)
        return;
    listener->armed = false;
    tcp->in_flight_count--;
    if (listener->stopping) {
        listener_free(listener);
    } else if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
        /* Whoever waits stays in the backlog. */
        log_write(LOG_WARN, "cannot accept a connection, trying again", "reason=\"%s\"",
                  strerror(-result));
        listener->retry = true;
        tcp_timer_arm(tcp, ACCEPT_RETRY_NS);
    } else {
        tcp_listener_arm(listener);
    }
}

void tcp_listener_arm(struct tcp_listener *listener)
{
    ASSERT(!listener->armed && !listener->stopping);
    struct io_uring_sqe *sqe = io_loop_sqe(listener->tcp->loop);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    io_loop_sqe_own(sqe, &listener->operation);
    listener->armed = true;
    listener->tcp->in_flight_count++;
}

int io_tcp_listen(struct io_tcp *tcp, const char *address)
{
    if (tcp->listener)
        return OST_INVALID_ARGUMENT; /* it listens already */
    struct addrinfo *addresses;
    int status = address_resolve(address, true, &addresses);
    if (status != OST_OK)
        return status;
    int fd = -1;
    int error = addresses_listen(addresses, address[0] == ':', &fd);
    freeaddrinfo(addresses);
    if (error == EADDRINUSE)
        return OST_ADDRESS_IN_USE;
    if (error != 0) {
        log_write(LOG_ERROR, "cannot listen", "address=\"%s\" reason=\"%s\"", address,
                  strerror(error));
        return OST_IO;
    }
    struct tcp_listener *listener = memory_alloc_zeroed(1, sizeof(*listener));
    listener->tcp = tcp;
    listener->fd = fd;
    listener->port = socket_port(fd);
    listener->operation = (struct io_operation){.complete = accept_complete, .owner = tcp};
    tcp->listener = listener;
    tcp_listener_arm(listener);
    return OST_OK;
}

uint16_t io_tcp_listen_port(const struct io_tcp *tcp)
{
    return tcp->listener ? tcp->listener->port : 0;
}

void io_tcp_listen_stop(struct io_tcp *tcp)
{
    struct tcp_listener *listener = tcp->listener;
    if (!listener)
        return;
    tcp->listener = NULL;
    listener->stopping = true;
    if (listener->armed)
        io_loop_cancel(tcp->loop, &listener->operation);
    else
        listener_free(listener);
}

/* Tries the addresses from connection->address on. False when none is left to be tried. */
static bool connect_try(struct tcp_connection *connection)
{
    for (; connection->address; connection->address = connection->address->ai_next) {
        const struct addrinfo *address = connection->address;
        connection->fd = socket_new(address->ai_family);
        if (connection->fd < 0)
            continue;
        struct io_uring_sqe *sqe = io_loop_sqe(connection->tcp->loop);
        io_uring_prep_connect(sqe, connection->fd, address->ai_addr, address->ai_addrlen);
        io_loop_sqe_own(sqe, &connection->send_operation);
        tcp_request_begin(connection);
        return true;
    }
    return false;
}

static void connection_connected(struct tcp_connection *connection)
{
    struct io_tcp *tcp = connection->tcp;
    freeaddrinfo(connection->addresses);
    connection->addresses = NULL;
    connection->address = NULL;
    connection->send_operation.complete = tcp_send_complete;
    tcp_connection_mark_ready(connection);
    if (connection->in_table) {
        connection->state = CONNECTION_OPEN;
        tcp->callbacks.connected(tcp->context, connection->id, OST_OK);
    } else {
        /* Closed by its user meanwhile: what was queued still leaves. */
        connection->state = CONNECTION_LINGERING;
        tcp_connection_linger_step(connection);
    }
}

void tcp_connect_complete(struct io_operation *operation, int result, uint32_t flags)
{
    struct tcp_connection *connection =
        CONTAINER_OF(operation, struct tcp_connection, send_operation);
    (void)flags;
    tcp_connection_hold(connection);
    tcp_request_end(connection);
    if (connection->state != CONNECTION_CLOSING) {
        if (result == 0) {
            connection_connected(connection);
        } else {
            close(connection->fd);
            connection->fd = -1;
            connection->address = connection->address->ai_next;
            if (!connect_try(connection))
                tcp_connection_fail(connection, OST_DISCONNECTED);
        }
    }
    tcp_connection_release(connection);
}

int io_tcp_connect(struct io_tcp *tcp, const char *address, uint64_t *out_connection_id)
{
    struct addrinfo *addresses;
    int status = address_resolve(address, false, &addresses);
    if (status != OST_OK)
        return status;
    struct tcp_connection *connection = tcp_connection_new(tcp, -1, CONNECTION_CONNECTING);
    connection->addresses = addresses;
    connection->address = addresses;
    uint64_t id = connection->id;
    if (!connect_try(connection)) {
        log_write(LOG_WARN, "cannot make a socket", "reason=\"%s\"", strerror(errno));
        tcp_connection_close(connection);
        return OST_IO;
    }
    *out_connection_id = id;
    return OST_OK;
}
