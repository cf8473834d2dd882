//! The traits of an engine.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;

use crate::control::{Command, Control, ControlError};
use crate::fence::Fence;
use crate::labels::Labels;
use crate::ledger::{Entry, History, Ledger, LedgerError, Recorded, Seq};
use crate::matcher::Matcher;
use crate::mesh::{
    Applied, Capabilities, ClusterTraffic, MeshController, MeshError, Plan, Served, ShiftReport,
    ShiftRequest, Snapshot, TrafficControl, TrafficEvidence,
};
use crate::name::{Cluster, Service};
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::query::{Answer, QueryEngine, QueryError, QueryOptions};
use crate::runbook::{Call, Capability, HostCalls, Invocation, RunbookError};
use crate::sample::Exemplar;
use crate::span::{SpanRecord, TraceId};
use crate::span_store::{SpanStore, SpanStoreError, TraceQuery, TraceSummary};
use crate::store::{Appender, SelectHint, SeriesSet, Store, StoreError, StoreStats};
use crate::time::{TimeRange, Timestamp};

forward!(#[async_trait] Store {
    fn appender(&self) -> Box<dyn Appender + '_> {
        (**self).appender()
    }

    async fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        hint: &SelectHint,
    ) -> Result<Box<dyn SeriesSet>, StoreError> {
        (**self).select(matchers, range, hint).await
    }

    async fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<Labels>, StoreError> {
        (**self).series(matchers, range).await
    }

    async fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        (**self).label_names(matchers, range).await
    }

    async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, StoreError> {
        (**self).label_values(name, matchers, range).await
    }

    async fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, StoreError> {
        (**self).exemplars(matchers, range).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        (**self).ready().await
    }

    async fn stats(&self) -> StoreStats {
        (**self).stats().await
    }
});

forward!(#[async_trait] QueryEngine {
    async fn instant(
        &self,
        query: &str,
        at: Timestamp,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        (**self).instant(query, at, options).await
    }

    async fn range(
        &self,
        query: &str,
        range: TimeRange,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        (**self).range(query, range, step, options).await
    }
});

forward!(#[async_trait] SpanStore {
    async fn append(&self, spans: Vec<SpanRecord>) -> Result<(), SpanStoreError> {
        (**self).append(spans).await
    }

    async fn trace(&self, id: TraceId) -> Result<Vec<SpanRecord>, SpanStoreError> {
        (**self).trace(id).await
    }

    async fn search(&self, query: &TraceQuery) -> Result<Vec<TraceSummary>, SpanStoreError> {
        (**self).search(query).await
    }

    async fn dropped(&self) -> u64 {
        (**self).dropped().await
    }
});

forward!(#[async_trait] Ledger {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        (**self).lease(holder, ttl).await
    }

    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        (**self).append(fence, entries).await
    }

    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        (**self).read(from, limit).await
    }

    async fn history(&self) -> Result<History, LedgerError> {
        (**self).history().await
    }

    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError> {
        (**self).changed(after).await
    }

    async fn verify(&self) -> Result<Seq, LedgerError> {
        (**self).verify().await
    }
});

forward!(#[async_trait] Notifier {
    fn receiver(&self) -> &str {
        (**self).receiver()
    }

    async fn send(&self, n: &Notification) -> Result<Receipt, SendError> {
        (**self).send(n).await
    }
});

forward!(#[async_trait] MeshController {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn services(&self) -> Vec<Service> {
        (**self).services()
    }

    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        (**self).snapshot(service).await
    }

    async fn plan(&self, request: &ShiftRequest) -> Result<Plan, MeshError> {
        (**self).plan(request).await
    }

    async fn apply(&self, plan: &Plan, fence: &Fence) -> Result<Applied, MeshError> {
        (**self).apply(plan, fence).await
    }

    async fn observe(&self, service: &Service) -> Result<Vec<ClusterTraffic>, MeshError> {
        (**self).observe(service).await
    }
});

forward!(#[async_trait] TrafficEvidence {
    async fn served(&self, service: &Service, cluster: &Cluster) -> Result<Served, String> {
        (**self).served(service, cluster).await
    }
});

forward!(#[async_trait] TrafficControl {
    async fn snapshot(&self, service: &Service) -> Result<Snapshot, MeshError> {
        (**self).snapshot(service).await
    }

    async fn shift(&self, request: ShiftRequest) -> Result<ShiftReport, MeshError> {
        (**self).shift(request).await
    }
});

forward!(#[async_trait] HostCalls {
    async fn call(&self, call: Call) -> Result<Json, RunbookError> {
        (**self).call(call).await
    }
});

forward!(#[async_trait] Capability {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn check_grant(&self, grant: &Json) -> Result<(), String> {
        (**self).check_grant(grant)
    }

    fn check(&self, grant: &Json, args: &Json) -> Result<(), String> {
        (**self).check(grant, args)
    }

    async fn invoke(&self, invocation: &Invocation<'_>, args: Json) -> Result<Json, String> {
        (**self).invoke(invocation, args).await
    }
});

forward!(#[async_trait] Control {
    async fn execute(&self, person: &str, command: Command) -> Result<Seq, ControlError> {
        (**self).execute(person, command).await
    }
});
