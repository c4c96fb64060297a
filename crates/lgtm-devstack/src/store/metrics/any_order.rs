//! Items that are older than the newest of their series, which only an import stores: each goes to its place in time.

use super::{Arrival, Exemplar, Histogram, Labels, MetricStore, SAMPLE_BYTES, Sample, SampleError, histogram_size};

impl MetricStore {
    pub(super) fn insert_sample(&mut self, labels: &Labels, sample: Sample) -> Result<(), SampleError> {
        let data = self.series_data(labels);
        let id = data.id;
        let at = data.samples.partition_point(|held| held.timestamp_ms < sample.timestamp_ms);
        if let Some(held) = data.samples.get(at).filter(|held| held.timestamp_ms == sample.timestamp_ms) {
            if held.value.to_bits() == sample.value.to_bits() {
                self.samples.duplicates += 1;
                return Ok(());
            }
            self.samples.rejected += 1;
            return Err(SampleError::DuplicateTimestamp);
        }
        data.samples.insert(at, sample);
        self.samples.received += 1;
        self.samples.held += 1;
        self.held_bytes += SAMPLE_BYTES;
        self.arrivals.push_back(Arrival::Sample(id));
        self.evict();
        Ok(())
    }

    pub(super) fn insert_histogram(&mut self, labels: &Labels, histogram: Histogram) -> Result<(), SampleError> {
        let bytes = histogram_size(&histogram);
        let data = self.series_data(labels);
        let id = data.id;
        let at = data.histograms.partition_point(|held| held.timestamp < histogram.timestamp);
        if let Some(held) = data.histograms.get(at).filter(|held| held.timestamp == histogram.timestamp) {
            // A marker's sum is a NaN: it equals nothing.
            if prost::Message::encode_to_vec(held) == prost::Message::encode_to_vec(&histogram) {
                self.histograms.duplicates += 1;
                return Ok(());
            }
            self.histograms.rejected += 1;
            return Err(SampleError::DuplicateTimestamp);
        }
        data.histograms.insert(at, histogram);
        self.histograms.received += 1;
        self.histograms.held += 1;
        self.held_bytes += bytes;
        self.arrivals.push_back(Arrival::Histogram(id));
        self.evict();
        Ok(())
    }

    pub(super) fn insert_exemplar(&mut self, labels: &Labels, exemplar: Exemplar) {
        let bytes = exemplar.size();
        let data = self.series_data(labels);
        let id = data.id;
        let at = data.exemplars.partition_point(|held| held.timestamp_ms <= exemplar.timestamp_ms);
        let mut of_this_time = data.exemplars.range(..at).rev();
        if of_this_time
            .by_ref()
            .take_while(|held| held.timestamp_ms == exemplar.timestamp_ms)
            .any(|held| *held == exemplar)
        {
            self.exemplars.duplicates += 1;
            return;
        }
        data.exemplars.insert(at, exemplar);
        self.exemplars.received += 1;
        self.exemplars.held += 1;
        self.held_bytes += bytes;
        self.arrivals.push_back(Arrival::Exemplar(id));
        self.evict();
    }
}
