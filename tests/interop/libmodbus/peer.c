/* A Modbus server or client of libmodbus, told over standard input what to do, a line a command.
 *
 *   peer server tcp PORT        peer client tcp PORT UNIT
 *   peer server rtu TTY UNIT    peer client rtu TTY UNIT      (115200 8N2)
 *
 * Each command is answered by one line. All numbers are decimal.
 * Server: put AREA AT VALUE...     get AREA AT COUNT     asked (the functions that were asked)
 *         Area: coil, discrete, input, holding. A request of holding register 1000 + 10 * CODE is refused with CODE.
 * Client: FUNCTION NUMBERS... as that function has them: 1..4 AT COUNT; 5, 6 AT VALUE; 15, 16 AT VALUE...;
 *         17; 22 AT AND OR; 23 READ-AT COUNT WRITE-AT VALUE...; raw BYTES... (unit and PDU; the answer's PDU back)
 *         The answer is `= VALUES...`, `exception CODE` or `error WORDS`.
 */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 2500, CLIENTS = 16, WORDS = 2100, LINE = 32768, REFUSED_FROM = 1000, REFUSED_TO = 1120 };

static modbus_mapping_t *map;
static unsigned char asked[256];

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static modbus_t *open_context(char **words, int count)
{
    int tcp = strcmp(words[0], "tcp") == 0;
    modbus_t *ctx = tcp ? modbus_new_tcp("127.0.0.1", atoi(words[1]))
                        : modbus_new_rtu(words[1], 115200, 'N', 8, 2);
    if (ctx == NULL || (count > 2 && modbus_set_slave(ctx, atoi(words[2])) != 0))
        fail("cannot make a context");
    return ctx;
}

/* Splits a line into numbers, from its `from`th word on. */
static int numbers(char *text, int *into, int most)
{
    int count = 0;
    for (char *word = strtok(text, " \n"); word != NULL && count < most; word = strtok(NULL, " \n"))
        into[count++] = atoi(word);
    return count;
}

static void server_command(char *line)
{
    static int values[WORDS];
    char verb[16] = "", area[16] = "";
    int skip = 0;
    if (strncmp(line, "asked", 5) == 0) {
        printf("=");
        for (int code = 0; code < 256; code++)
            if (asked[code])
                printf(" %d", code);
        printf("\n");
        return;
    }
    if (sscanf(line, "%15s %15s %n", verb, area, &skip) < 2) {
        printf("error no such command\n");
        return;
    }
    int count = numbers(line + skip, values, WORDS);
    uint8_t *bits = strcmp(area, "coil") == 0 ? map->tab_bits : strcmp(area, "discrete") == 0 ? map->tab_input_bits : NULL;
    uint16_t *words = strcmp(area, "input") == 0 ? map->tab_input_registers : map->tab_registers;
    int put = strcmp(verb, "put") == 0, at = values[0], length = put ? count - 1 : values[1];
    if (count < 2 || at < 0 || length < 0 || at + length > SIZE) {
        printf("error out of range\n");
        return;
    }
    printf("=");
    for (int i = 0; i < length; i++) {
        if (put && bits)
            bits[at + i] = values[1 + i] != 0;
        else if (put)
            words[at + i] = (uint16_t)values[1 + i];
        else
            printf(" %d", bits ? bits[at + i] : words[at + i]);
    }
    printf("\n");
}

/* One request from whom the context is connected to; false: it is gone. */
static int serve(modbus_t *ctx)
{
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    int length = modbus_receive(ctx, request);
    if (length <= 0)
        return length == 0;
    const uint8_t *pdu = request + modbus_get_header_length(ctx);
    int at = pdu[1] << 8 | pdu[2];
    asked[pdu[0]] = 1;
    if ((pdu[0] == 3 || pdu[0] == 6 || pdu[0] == 16) && at >= REFUSED_FROM && at < REFUSED_TO)
        return modbus_reply_exception(ctx, request, (unsigned)(at - REFUSED_FROM) / 10) >= 0;
    return modbus_reply(ctx, request, length, map) >= 0;
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 8) != 0)
        fail("cannot listen");
    return fd;
}

static void server(char **words, int count)
{
    int tcp = strcmp(words[0], "tcp") == 0;
    modbus_t *ctx = open_context(words, count);
    map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    /* What is no function of libmodbus is refused after this time. */
    modbus_set_response_timeout(ctx, 0, 20000);
    struct pollfd fds[2 + CLIENTS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    if (!tcp && modbus_connect(ctx) != 0)
        fail("cannot open the port");
    fds[1] = (struct pollfd){.fd = tcp ? listen_on(atoi(words[1])) : modbus_get_socket(ctx), .events = POLLIN};
    int used = 2;
    printf("ready\n");
    for (;;) {
        if (poll(fds, (nfds_t)used, -1) < 0)
            fail("poll");
        if (fds[0].revents) {
            char line[LINE];
            /* A line at a time, read without a buffer that poll could not see. */
            int length = 0;
            while (length < LINE - 1 && read(STDIN_FILENO, line + length, 1) == 1 && line[length] != '\n')
                length++;
            line[length] = 0;
            if (length == 0)
                exit(0);
            server_command(line);
        }
        for (int i = used - 1; i > 1; i--) {
            if (!fds[i].revents)
                continue;
            modbus_set_socket(ctx, fds[i].fd);
            if (!serve(ctx)) {
                close(fds[i].fd);
                fds[i] = fds[--used];
            }
        }
        if (fds[1].revents && !tcp && !serve(ctx))
            modbus_flush(ctx);
        if (fds[1].revents && tcp) {
            int fd = accept(fds[1].fd, NULL, NULL);
            if (fd >= 0 && used < 2 + CLIENTS)
                fds[used++] = (struct pollfd){.fd = fd, .events = POLLIN};
            else if (fd >= 0)
                close(fd);
        }
    }
}

static void told(int result, const uint8_t *bytes, const uint16_t *words, int count)
{
    int code = errno - MODBUS_ENOBASE;
    if (result < 0 && code > 0 && code < 12) {
        printf("exception %d\n", code);
    } else if (result < 0) {
        printf("error %s\n", modbus_strerror(errno));
    } else {
        printf("=");
        for (int i = 0; i < count; i++)
            printf(" %d", bytes ? bytes[i] : words[i]);
        printf("\n");
    }
}

static void client_command(modbus_t *ctx, char *line)
{
    static int n[WORDS];
    static uint8_t bytes[WORDS];
    static uint16_t words[WORDS];
    int raw = strncmp(line, "raw ", 4) == 0;
    int count = numbers(raw ? line + 4 : line, n, WORDS);
    if (raw) {
        for (int i = 0; i < count; i++)
            bytes[i] = (uint8_t)n[i];
        uint8_t answer[MODBUS_TCP_MAX_ADU_LENGTH];
        int length = modbus_send_raw_request(ctx, bytes, count);
        length = length < 0 ? length : modbus_receive_confirmation(ctx, answer);
        int header = modbus_get_header_length(ctx), sum = header == 1 ? 2 : 0;
        told(length, answer + header, NULL, length - header - sum);
        modbus_flush(ctx);
        return;
    }
    for (int i = 2; i < count; i++) {
        bytes[i - 2] = n[i] != 0;
        words[i - 2] = (uint16_t)n[i];
    }
    switch (n[0]) {
    case 1: told(modbus_read_bits(ctx, n[1], n[2], bytes), bytes, NULL, n[2]); break;
    case 2: told(modbus_read_input_bits(ctx, n[1], n[2], bytes), bytes, NULL, n[2]); break;
    case 3: told(modbus_read_registers(ctx, n[1], n[2], words), NULL, words, n[2]); break;
    case 4: told(modbus_read_input_registers(ctx, n[1], n[2], words), NULL, words, n[2]); break;
    case 5: told(modbus_write_bit(ctx, n[1], n[2]), bytes, NULL, 0); break;
    case 6: told(modbus_write_register(ctx, n[1], (uint16_t)n[2]), bytes, NULL, 0); break;
    case 15: told(modbus_write_bits(ctx, n[1], count - 2, bytes), bytes, NULL, 0); break;
    case 16: told(modbus_write_registers(ctx, n[1], count - 2, words), bytes, NULL, 0); break;
    case 17: {
        int length = modbus_report_slave_id(ctx, MODBUS_MAX_PDU_LENGTH, bytes);
        told(length, bytes, NULL, length);
        break;
    }
    case 22: told(modbus_mask_write_register(ctx, n[1], (uint16_t)n[2], (uint16_t)n[3]), bytes, NULL, 0); break;
    case 23:
        for (int i = 4; i < count; i++)
            words[i - 4] = (uint16_t)n[i];
        static uint16_t got[WORDS];
        told(modbus_write_and_read_registers(ctx, n[3], count - 4, words, n[1], n[2], got), NULL, got, n[2]);
        break;
    default: printf("error no such function\n");
    }
}

static void client(char **words, int count)
{
    static char line[LINE];
    modbus_t *ctx = open_context(words, count);
    modbus_set_response_timeout(ctx, 3, 0);
    if (modbus_connect(ctx) != 0)
        fail("cannot connect");
    printf("ready\n");
    while (fgets(line, sizeof line, stdin) != NULL)
        client_command(ctx, line);
    modbus_close(ctx);
    modbus_free(ctx);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3 && strcmp(argv[1], "server") == 0)
        server(argv + 2, argc - 2);
    else if (argc > 3 && strcmp(argv[1], "client") == 0)
        client(argv + 2, argc - 2);
    else
        fprintf(stderr, "peer server|client tcp|rtu PORT [UNIT]\n");
    return 1;
}
