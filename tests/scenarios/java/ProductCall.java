import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.time.Duration;

/** One call with the JDK's client as it comes (it offers h2c at first): URL, request id, time-out in ms.
 *  Prints the status and the body, or "timeout". */
public class ProductCall {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .timeout(Duration.ofMillis(Long.parseLong(args[2])))
            .header("X-Request-ID", args[1])
            .GET()
            .build();
        for (int n = 0; n < 2; n++) { // the second call goes over the kept connection
            try {
                HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(answer.statusCode() + " " + answer.body().strip());
            } catch (HttpTimeoutException e) {
                System.out.println("timeout");
                return;
            }
        }
    }
}
