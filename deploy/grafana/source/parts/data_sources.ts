// The data sources that the dashboards ask, as {type, uid}: the uids are those of ../provisioning/datasources.
export const mimir = { type: 'prometheus', uid: 'mimir' };
export const loki = { type: 'loki', uid: 'loki' };
export const tempo = { type: 'tempo', uid: 'tempo' };
