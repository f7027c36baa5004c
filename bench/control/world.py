"""Who there is: services, workloads, proxies and whom they call; as documents, and as the file of `proxies`."""
from dataclasses import dataclass

TRUST_DOMAIN = "mesh.local"
PORT = 8080
SERVICES_PER_NAMESPACE = 10
ROUTED_EVERY = 10  # every so many services have routes and a rule of their own

MESH = f"""apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{ name: bench }}
spec: {{ trustDomain: {TRUST_DOMAIN} }}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: default, namespace: istio-system }}
spec: {{ mtls: {{ mode: STRICT }} }}
"""
ACCOUNT = """---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: app, namespace: {ns} }}
"""
SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: {ns} }}
spec:
  selector: {{ app: {name} }}
  ports: [ {{ name: http, port: 8080, targetPort: 8080 }} ]
---
apiVersion: tulle.dev/v1
kind: Workload
metadata: {{ name: {name}, namespace: {ns}, labels: {{ app: {name}, version: v1 }} }}
spec:
  serviceAccount: app
  replicas: {replicas}
  ports: [ {{ name: http, port: 8080 }} ]
  run: {{ command: [ sleep, infinity ] }}
"""
ROUTED = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: {name}, namespace: {ns} }}
spec:
  hosts: [ {name} ]
  http:
  - match: [ {{ headers: {{ x-canary: {{ exact: "1" }} }} }} ]
    route: [ {{ destination: {{ host: {name}, subset: v1 }} }} ]
  - route: [ {{ destination: {{ host: {name} }} }} ]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: {name}, namespace: {ns} }}
spec:
  host: {name}
  subsets: [ {{ name: v1, labels: {{ version: v1 }} }} ]
  trafficPolicy: {{ connectionPool: {{ http: {{ http1MaxPendingRequests: 100 }} }} }}
"""
POLICY = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: {name}, namespace: {ns} }}
spec:
  action: DENY
  rules: [ {{ to: [ {{ operation: {{ paths: [ "/never/{mark}" ] }} }} ] }} ]
"""


@dataclass(frozen=True)
class World:
    services: int      # with replicas, whom proxies call
    replicas: int      # of each, and so proxies
    destinations: int  # whom a proxy calls
    idle_services: int = 0  # documents that nobody of these proxies concerns

    @property
    def proxies(self):
        return self.services * self.replicas

    @property
    def namespaces(self):
        return [f"ns{i:04}" for i in range(-(-self.services // SERVICES_PER_NAMESPACE))]

    def namespace(self, service):
        return f"ns{service // SERVICES_PER_NAMESPACE:04}"

    def host_port(self, service):
        return f"s{service:05}.{self.namespace(service)}.svc.cluster.local:{PORT}"

    def documents(self):
        """Texts, each for one request."""
        yield MESH + "".join(ACCOUNT.format(ns=ns) for ns in self.namespaces)
        for first in range(0, self.services, 500):
            yield "".join(self._service(i) for i in range(first, min(first + 500, self.services)))
        yield "".join(self.policy(ns, 0) for ns in self.namespaces)
        for first in range(0, self.idle_services, 1000):
            yield "".join(self._idle(i) for i in range(first, min(first + 1000, self.idle_services)))

    def _service(self, i):
        text = SERVICE.format(name=f"s{i:05}", ns=self.namespace(i), replicas=self.replicas)
        return text + (ROUTED.format(name=f"s{i:05}", ns=self.namespace(i)) if i % ROUTED_EVERY == 0 else "")

    def _idle(self, i):
        """Services in namespaces of their own, whose policies and replicas are nobody's of ours."""
        ns = f"idle{i // SERVICES_PER_NAMESPACE:04}"
        account = ACCOUNT.format(ns=ns) if i % SERVICES_PER_NAMESPACE == 0 else ""
        text = SERVICE.format(name=f"i{i:05}", ns=ns, replicas=1)
        return account + text + (ROUTED.format(name=f"i{i:05}", ns=ns) if i % ROUTED_EVERY == 0 else "")

    @staticmethod
    def policy(ns, mark):
        """A policy of a namespace: the inbound listeners there change with its mark."""
        return POLICY.format(name="bench", ns=ns, mark=mark)

    def destinations_of(self, proxy):
        """Some of its own namespace, most of them anywhere: each service has as many callers."""
        step = max(1, self.services // self.destinations)
        first = proxy * 7 + proxy // self.services
        return sorted({(first + k * step) % self.services for k in range(self.destinations)})

    def lines(self, head, certificates):
        """The file of `proxies`; certificates: {namespace: (chain, key)}, empty without TLS."""
        yield head
        for ns in self.namespaces:
            files = " ".join(map(str, certificates.get(ns, ())))
            yield f"identity {ns} spiffe://{TRUST_DOMAIN}/ns/{ns}/sa/app {files}"
        for i in range(self.services):
            yield f"service {self.host_port(i)} {self.namespace(i)} s{i:05}"
        for i in range(self.services):
            for r in range(self.replicas):
                proxy = i * self.replicas + r
                address = f"10.{proxy >> 16 & 255}.{proxy >> 8 & 255}.{proxy & 255}"
                yield f"proxy {self.namespace(i)} s{i:05} {r} {address} {self.namespace(i)}"
                yield from (f"dest {self.host_port(d)}" for d in self.destinations_of(proxy))
